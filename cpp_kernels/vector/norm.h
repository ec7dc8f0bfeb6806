// The root mean square of a row.
#pragma once

#include "vector/math.h"

namespace stepguard::STEPGUARD_TABLE {
namespace {

// 1 / sqrt(mean(x^2) + epsilon); squares in double, so that no finite row overflows.
[[maybe_unused]] inline float inverse_rms(const float* x, int64_t count, float epsilon) {
  const double mean = sum_squares(x, count) / static_cast<double>(count) + epsilon;
  return static_cast<float>(1.0 / square_root(mean));
}

// y = x * inverse * (offset + weight), in place too.
[[maybe_unused]] inline void scale_row(const float* x, const float* weight, float inverse,
                                       float offset, int64_t count, float* y) {
  for (int64_t i = 0; i < count; i += kLanes) {
    const Vec gain = add(splat(offset), load_part(weight + i, count - i));
    store_part(y + i, mul(mul(load_part(x + i, count - i), splat(inverse)), gain), count - i);
  }
}

}  // namespace
}  // namespace stepguard::STEPGUARD_TABLE
