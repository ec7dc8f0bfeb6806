// What a guard's server answers, read strictly: anything unexpected is bad, and bad is a denial.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace stepguard::hook {

enum class Host { kClaudeCode, kCodex };

constexpr size_t kMostHead = 8192;
constexpr size_t kMostBody = 4096;
constexpr size_t kMostReason = 600;

enum class Progress { kMore, kDone, kBad };

// Reads an HTTP answer as far as it has come. kDone: status 200, and `body` is exactly the bytes
// that Content-Length promised. kMore: so far nothing is wrong, but it is not complete.
Progress read_answer(std::string_view bytes, std::string* body);

// Whether these bytes are a decision about a tool call that this host understands: a deny (in
// Claude Code an ask too) with a reason of plain text, and not a byte more. They are printed as
// they are.
bool is_decision(Host host, std::string_view body);

// The JSON that keeps the tool from running, in both hosts. The reason must be plain text, as
// is_decision wants it.
std::string denial(std::string_view reason);

}  // namespace stepguard::hook
