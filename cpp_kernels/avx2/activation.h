// Sigmoid and SiLU of eight floats.
#pragma once

#include "avx2/vec.h"

namespace stepguard::avx2 {
namespace {

// 1 + e^-x: what both divide by.
[[maybe_unused]] inline __m256 sigmoid_divisor(__m256 x) {
  const __m256 negative = _mm256_xor_ps(x, _mm256_set1_ps(-0.0F));
  return _mm256_add_ps(_mm256_set1_ps(1.0F), exp_lanes(negative));
}

[[maybe_unused]] inline __m256 sigmoid_lanes(__m256 x) {
  return _mm256_div_ps(_mm256_set1_ps(1.0F), sigmoid_divisor(x));
}

[[maybe_unused]] inline __m256 silu_lanes(__m256 x) { return _mm256_div_ps(x, sigmoid_divisor(x)); }

}  // namespace
}  // namespace stepguard::avx2
