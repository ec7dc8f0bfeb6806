// From a budget of time to a budget of tokens, by what forwards took so far. Pure: no clock.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace stepguard {

class Speed {
 public:
  // A forward of fewer tokens takes about as long as one of these.
  static constexpr int64_t kLeast = 16;

  // A forward of `tokens` took `seconds`.
  void add(int64_t tokens, double seconds) {
    if (tokens <= 0 || !(seconds > 0)) return;
    const double taken = seconds / static_cast<double>(std::max(tokens, kLeast));
    seconds_per_token_ =
        measured_ ? seconds_per_token_ + kWeight * (taken - seconds_per_token_) : taken;
    measured_ = true;
  }

  // Tokens that fit into `seconds`: at least kLeast, at most `chunk`.
  int64_t tokens(double seconds, int64_t chunk) const {
    const double fitting = std::floor(seconds / seconds_per_token_);
    if (fitting >= static_cast<double>(chunk)) return chunk;
    return std::min(chunk, std::max(kLeast, static_cast<int64_t>(fitting)));
  }

 private:
  static constexpr double kWeight = 0.3;       // of the newest forward
  static constexpr double kCautious = 2.5e-3;  // seconds per token before the first: a slow laptop

  double seconds_per_token_ = kCautious;
  bool measured_ = false;
};

}  // namespace stepguard
