#include "options.h"

#include <sys/un.h>
#include <unistd.h>

#include <cstdint>
#include <limits>
#include <string_view>

namespace stepguard::hook {
namespace {

constexpr uint64_t kLongestMs = 600'000;

bool number(std::string_view text, uint64_t most, uint64_t* value) {
  if (text.empty() || text.size() > 10) return false;
  *value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return false;
    *value = *value * 10 + static_cast<uint64_t>(c - '0');
  }
  return *value <= most;
}

bool set_option(std::string_view name, std::string_view value, Options* options) {
  uint64_t found = 0;
  if (name == "--socket") {
    options->socket = value;
    return !value.empty() && value.size() < sizeof(sockaddr_un::sun_path);
  }
  if (name == "--uid") {
    // The highest one means "nobody" to the kernel.
    if (!number(value, std::numeric_limits<uid_t>::max() - 1, &found)) return false;
    options->uid = static_cast<uid_t>(found);
    return true;
  }
  if (name == "--timeout-ms") {
    if (!number(value, kLongestMs, &found) || found == 0) return false;
    options->timeout_ms = static_cast<int>(found);
    return true;
  }
  return false;
}

}  // namespace

std::string parse_options(int count, char** words, Options* options) {
  constexpr std::string_view kUsage =
      "usage: stepguard-hook claude-code|codex --socket PATH [--uid N] [--timeout-ms N] "
      "[--observe]";
  const std::string_view host = count > 1 ? words[1] : "";
  if (host != "claude-code" && host != "codex") return std::string(kUsage);
  options->host = host == "codex" ? Host::kCodex : Host::kClaudeCode;
  options->uid = geteuid();
  for (int i = 2; i < count; ++i) {
    const std::string_view word = words[i];
    if (word == "--observe") {
      options->observe = true;
    } else if (++i == count || !set_option(word, words[i], options)) {
      return std::string(kUsage);
    }
  }
  return options->socket.empty() ? std::string(kUsage) : std::string();
}

}  // namespace stepguard::hook
