// Elements of a row rounded to integers (integer_rows.h).
#pragma once

#include "integer_rows.h"
#include "vector/math.h"

namespace stepguard::STEPGUARD_TABLE {
namespace {

// Up to 32 elements of a row as integers; zeros behind them, and all zeros where `inverse` is 0.
[[maybe_unused]] inline void round_elements(const float* x, int64_t count, float inverse,
                                            Integers* integers) {
  for (int i = 0; i < kBlock / kLanes; ++i) {
    const int64_t part = part_of(count, i);
    integers[i] = inverse == 0.0F || part == 0
                      ? to_integers(zeros())
                      : to_integers(mul(load_part(x + i * kLanes, part), splat(inverse)));
  }
}

}  // namespace
}  // namespace stepguard::STEPGUARD_TABLE
