// One question to the guard's server, and everything that can go wrong with it.
#pragma once

#include <string>
#include <string_view>

#include "deadline.h"
#include "options.h"

namespace stepguard::hook {

// Reads a whole descriptor. Null, or what went wrong: a fixed text.
const char* read_all(int from, const Deadline& deadline, std::string* text);

// Sends `event` to the server of `options` and gives the body of its answer. Null, or what went
// wrong: a fixed text. Nothing is sent to a socket of another uid.
const char* ask(const Options& options, std::string_view event, const Deadline& deadline,
                std::string* body);

}  // namespace stepguard::hook
