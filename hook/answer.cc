#include "answer.h"

#include <algorithm>
#include <optional>

namespace stepguard::hook {
namespace {

// The fields in this order and without blanks, as src/stepguard/server/hook_answers.py writes them.
constexpr std::string_view kBegin =
    R"({"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":")";
constexpr std::string_view kMiddle = R"(","permissionDecisionReason":")";
constexpr std::string_view kEnd = R"("}})";

bool drop_front(std::string_view* text, std::string_view part) {
  if (text->substr(0, part.size()) != part) return false;
  text->remove_prefix(part.size());
  return true;
}

bool drop_back(std::string_view* text, std::string_view part) {
  if (text->size() < part.size() || text->substr(text->size() - part.size()) != part) return false;
  text->remove_suffix(part.size());
  return true;
}

// Text that JSON writes as it is: printable ASCII, no quote and no backslash.
bool is_plain(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return c >= ' ' && c <= '~' && c != '"' && c != '\\'; });
}

bool same_name(std::string_view name, std::string_view lower) {
  return std::equal(name.begin(), name.end(), lower.begin(), lower.end(),
                    [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a + 32 : a) == b; });
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::optional<size_t> length_of(std::string_view digits) {
  if (digits.empty() || digits.size() > 4) return std::nullopt;
  size_t value = 0;
  for (const char c : digits) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + static_cast<size_t>(c - '0');
  }
  if (value > kMostBody) return std::nullopt;
  return value;
}

bool is_ok(std::string_view line) {
  constexpr std::string_view kOk = "HTTP/1.1 200";
  return line.substr(0, kOk.size()) == kOk &&
         (line.size() == kOk.size() || line[kOk.size()] == ' ');
}

// The length of the body that a head (without its empty line) promises, if all of it is as it
// should be.
std::optional<size_t> promised(std::string_view head) {
  std::optional<size_t> length;
  for (bool first = true; !head.empty(); first = false) {
    const size_t end = std::min(head.find("\r\n"), head.size());
    const std::string_view line = head.substr(0, end);
    head.remove_prefix(std::min(end + 2, head.size()));
    if (first) {
      if (!is_ok(line)) return std::nullopt;
      continue;
    }
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) return std::nullopt;
    const std::string_view name = line.substr(0, colon);
    if (same_name(name, "transfer-encoding") || same_name(name, "content-encoding")) {
      return std::nullopt;
    }
    if (!same_name(name, "content-length")) continue;
    if (length) return std::nullopt;
    length = length_of(trimmed(line.substr(colon + 1)));
    if (!length) return std::nullopt;
  }
  return length;
}

}  // namespace

Progress read_answer(std::string_view bytes, std::string* body) {
  const size_t end = bytes.substr(0, kMostHead).find("\r\n\r\n");
  if (end == std::string_view::npos) {
    return bytes.size() < kMostHead ? Progress::kMore : Progress::kBad;
  }
  const std::optional<size_t> length = promised(bytes.substr(0, end));
  if (!length) return Progress::kBad;
  const std::string_view rest = bytes.substr(end + 4);
  if (rest.size() > *length) return Progress::kBad;
  if (rest.size() < *length) return Progress::kMore;
  body->assign(rest);
  return Progress::kDone;
}

bool is_decision(Host host, std::string_view body) {
  if (!drop_front(&body, kBegin)) return false;
  const bool decided =
      drop_front(&body, "deny") || (host == Host::kClaudeCode && drop_front(&body, "ask"));
  if (!decided || !drop_front(&body, kMiddle) || !drop_back(&body, kEnd)) return false;
  return !body.empty() && body.size() <= kMostReason && is_plain(body);
}

std::string denial(std::string_view reason) {
  std::string text(kBegin);
  return text.append("deny").append(kMiddle).append(reason).append(kEnd);
}

}  // namespace stepguard::hook
