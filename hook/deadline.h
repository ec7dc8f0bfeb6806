// How long a call may still take.
#pragma once

#include <algorithm>
#include <chrono>

namespace stepguard::hook {

class Deadline {
 public:
  explicit Deadline(int milliseconds)
      : end_(Clock::now() + std::chrono::milliseconds(milliseconds)) {}

  // Whole milliseconds that are left, as poll takes them; 0 when it is over.
  int left_ms() const {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end_ - Clock::now());
    return static_cast<int>(std::max<long long>(left.count(), 0));
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point end_;
};

}  // namespace stepguard::hook
