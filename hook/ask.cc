#include "ask.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>

namespace stepguard::hook {
namespace {

constexpr size_t kMostEvent = 16 << 20;
constexpr int kLongestAsked = 120'000;  // the longest deadline that a server takes
constexpr char kLate[] = "Blocked by stepguard: the guard did not answer in time.";
constexpr char kNone[] = "Blocked by stepguard: the guard cannot be reached.";
constexpr char kOther[] = "Blocked by stepguard: the guard belongs to another user.";
constexpr char kGone[] = "Blocked by stepguard: the guard ended the connection.";
constexpr char kOdd[] = "Blocked by stepguard: the guard gave no proper answer.";
constexpr char kEvent[] = "Blocked by stepguard: the event could not be read.";

class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return number_; }

 private:
  int number_;
};

// Whether something can be read or written before the deadline.
bool ready(int descriptor, short events, const Deadline& deadline) {
  for (;;) {
    pollfd one{descriptor, events, 0};
    const int left = deadline.left_ms();
    if (left == 0) return false;
    const int found = poll(&one, 1, left);
    if (found > 0) return true;
    if (found == 0 || errno != EINTR) return false;
  }
}

bool again() { return errno == EAGAIN || errno == EINTR; }

const char* open_connection(const Options& options, int connection, const Deadline& deadline) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, options.socket.data(), options.socket.size());
  while (connect(connection, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    if (errno == EISCONN) break;
    if (!again()) return kNone;
    // The server's queue is full: a Unix socket has no other way to wait for a place in it.
    if (deadline.left_ms() == 0) return kLate;
    const timespec pause{0, 2'000'000};
    nanosleep(&pause, nullptr);
  }
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return kNone;
  return peer.uid == options.uid ? nullptr : kOther;
}

const char* send_all(int connection, std::string_view bytes, const Deadline& deadline) {
  while (!bytes.empty()) {
    if (!ready(connection, POLLOUT, deadline)) return kLate;
    const ssize_t sent = send(connection, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && again()) continue;
    if (sent < 0) return kGone;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return nullptr;
}

const char* receive(int connection, const Deadline& deadline, std::string* body) {
  std::string bytes;
  char part[2048];
  for (;;) {
    if (!ready(connection, POLLIN, deadline)) return kLate;
    const ssize_t got = recv(connection, part, sizeof(part), 0);
    if (got < 0 && again()) continue;
    if (got <= 0) return kGone;
    bytes.append(part, static_cast<size_t>(got));
    const Progress progress = read_answer(bytes, body);
    if (progress == Progress::kDone) return nullptr;
    if (progress == Progress::kBad) return kOdd;
  }
}

std::string head_of(const Options& options, size_t length, const Deadline& deadline) {
  // The server gives up a little before we do, so that its own answer still arrives.
  const int left = deadline.left_ms();
  const int asked = std::clamp(left - left / 10, 1, kLongestAsked);
  std::string head = "POST /v1/hooks/";
  head += options.host == Host::kCodex ? "codex" : "claude-code";
  head += " HTTP/1.1\r\nHost: stepguard\r\nConnection: close\r\nContent-Type: application/json\r\n";
  head += "Stepguard-Deadline-Ms: " + std::to_string(asked) + "\r\n";
  return head + "Content-Length: " + std::to_string(length) + "\r\n\r\n";
}

}  // namespace

const char* read_all(int from, const Deadline& deadline, std::string* text) {
  char part[16384];
  for (;;) {
    if (!ready(from, POLLIN, deadline)) return kEvent;
    const ssize_t got = read(from, part, sizeof(part));
    if (got < 0 && again()) continue;
    if (got < 0) return kEvent;
    if (got == 0) return text->empty() ? kEvent : nullptr;
    if (text->size() + static_cast<size_t>(got) > kMostEvent) return kEvent;
    text->append(part, static_cast<size_t>(got));
  }
}

const char* ask(const Options& options, std::string_view event, const Deadline& deadline,
                std::string* body) {
  const Descriptor connection(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (connection.get() < 0) return kNone;
  const char* wrong = open_connection(options, connection.get(), deadline);
  if (!wrong)
    wrong = send_all(connection.get(), head_of(options, event.size(), deadline), deadline);
  if (!wrong) wrong = send_all(connection.get(), event, deadline);
  if (!wrong) wrong = receive(connection.get(), deadline, body);
  if (wrong) return wrong;
  const bool opinion = options.observe ? false : is_decision(options.host, *body);
  return body->empty() || opinion ? nullptr : kOdd;
}

}  // namespace stepguard::hook
