// The command line of stepguard-hook.
#pragma once

#include <sys/types.h>

#include <string>

#include "answer.h"

namespace stepguard::hook {

struct Options {
  Host host = Host::kClaudeCode;
  std::string socket;
  uid_t uid = 0;  // the guard's; its own where none was named
  int timeout_ms = 5000;
  bool observe = false;  // the event is none that a tool waits for
};

// Empty where the words were understood, else what is wrong with them.
std::string parse_options(int count, char** words, Options* options);

}  // namespace stepguard::hook
