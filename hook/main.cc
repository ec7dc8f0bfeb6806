// stepguard-hook: asks a resident guard about a tool call, for Claude Code and Codex.
//
// It reads the host's event from standard input, sends it to the guard's Unix socket and prints the
// answer. No output and exit status 0 is "no opinion": the host goes on as without a hook. It never
// says "allow". Whatever goes wrong is a denial: as JSON, or, where that cannot be printed or the
// event is none that a tool waits for, as exit status 2 with the reason on standard error.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <exception>
#include <string>
#include <string_view>

#include "ask.h"

namespace stepguard::hook {
namespace {

constexpr int kBlocked = 2;

bool write_all(int to, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(to, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    text.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

int block(std::string_view reason) {
  // Both hosts want text on standard error; without it the status alone has to do.
  (void)(write_all(STDERR_FILENO, reason) && write_all(STDERR_FILENO, "\n"));
  return kBlocked;
}

// A descriptor that is closed would be given to the next file that is opened.
bool all_open() {
  return fcntl(STDIN_FILENO, F_GETFD) != -1 && fcntl(STDOUT_FILENO, F_GETFD) != -1 &&
         fcntl(STDERR_FILENO, F_GETFD) != -1;
}

int run(int count, char** words) {
  if (!all_open()) return kBlocked;
  signal(SIGPIPE, SIG_IGN);
  Options options;
  if (const std::string wrong = parse_options(count, words, &options); !wrong.empty()) {
    return block(wrong);
  }
  const Deadline deadline(options.timeout_ms);
  std::string event, body;
  const char* wrong = read_all(STDIN_FILENO, deadline, &event);
  if (!wrong) wrong = ask(options, event, deadline, &body);
  if (wrong && options.observe) return block(wrong);
  const std::string said = wrong ? denial(wrong) : body;
  return write_all(STDOUT_FILENO, said) ? 0 : block("Blocked by stepguard.");
}

}  // namespace
}  // namespace stepguard::hook

int main(int count, char** words) {
  try {
    return stepguard::hook::run(count, words);
  } catch (const std::exception&) {  // no memory
    return stepguard::hook::block("Blocked by stepguard: an error in its hook.");
  }
}
