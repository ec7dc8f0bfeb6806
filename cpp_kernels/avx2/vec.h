// Small vector helpers of the avx2 files. Everything is in an anonymous namespace: a shared inline
// function compiled for AVX2 must never be the copy that the linker keeps for other callers.
#pragma once

#include <immintrin.h>

#include "kernels.h"

namespace stepguard::avx2 {
namespace {

constexpr int kLanes = 8;

[[maybe_unused]] inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// The first `count` (0 to 8) lanes set.
[[maybe_unused]] inline __m256i lane_mask(int64_t count) {
  alignas(32) static const int32_t bits[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bits + kLanes - count));
}

// Up to 8 floats, the other lanes zero; memory behind them is not touched.
[[maybe_unused]] inline __m256 load_part(const float* from, int64_t count) {
  return count >= kLanes ? _mm256_loadu_ps(from) : _mm256_maskload_ps(from, lane_mask(count));
}

[[maybe_unused]] inline void store_part(float* to, __m256 value, int64_t count) {
  if (count >= kLanes) {
    _mm256_storeu_ps(to, value);
  } else {
    _mm256_maskstore_ps(to, lane_mask(count), value);
  }
}

// Eight half floats.
[[maybe_unused]] inline __m256 load_half(const uint16_t* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

// ((0+4) + (2+6)) + ((1+5) + (3+7)): one order for every sum over lanes.
[[maybe_unused]] inline float sum_lanes(__m256 v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

// The largest lane.
[[maybe_unused]] inline float max_lanes(__m256 v) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

[[maybe_unused]] inline double sum_lanes(__m256d v) {
  const __m128d s = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
  return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
}

// Squares in double, so that no finite row overflows.
[[maybe_unused]] inline double sum_squares(const float* x, int64_t count) {
  __m256d low = _mm256_setzero_pd();
  __m256d high = _mm256_setzero_pd();
  for (int64_t i = 0; i < count; i += kLanes) {
    const __m256 v = load_part(x + i, count - i);
    const __m256d a = _mm256_cvtps_pd(_mm256_castps256_ps128(v));
    const __m256d b = _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
    low = _mm256_fmadd_pd(a, a, low);
    high = _mm256_fmadd_pd(b, b, high);
  }
  return sum_lanes(_mm256_add_pd(low, high));
}

// 1 / sqrt(mean(x^2) + epsilon).
[[maybe_unused]] inline float inverse_rms(const float* x, int64_t count, float epsilon) {
  const double mean = sum_squares(x, count) / static_cast<double>(count) + epsilon;
  return static_cast<float>(1.0 / _mm_cvtsd_f64(_mm_sqrt_pd(_mm_set1_pd(mean))));
}

// y = x * inverse * (offset + weight), in place too.
[[maybe_unused]] inline void scale_row(const float* x, const float* weight, float inverse,
                                       float offset, int64_t count, float* y) {
  const __m256 factor = _mm256_set1_ps(inverse);
  const __m256 shift = _mm256_set1_ps(offset);
  for (int64_t i = 0; i < count; i += kLanes) {
    const __m256 gain = _mm256_add_ps(shift, load_part(weight + i, count - i));
    const __m256 normed = _mm256_mul_ps(load_part(x + i, count - i), factor);
    store_part(y + i, _mm256_mul_ps(normed, gain), count - i);
  }
}

// 2^n for lanes -126..127.
[[maybe_unused]] inline __m256 power_of_two(__m256i n) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}

// e^x within about one unit in the last place; 0 at -Inf, Inf at +Inf, NaN stays NaN.
// x = n ln2 + r with |r| <= ln2/2, a polynomial for e^r, and 2^n in two steps, so that results
// down to the smallest subnormal are rounded once.
[[maybe_unused]] inline __m256 exp_lanes(__m256 x) {
  // max and min return their second operand when one is NaN.
  x = _mm256_max_ps(_mm256_set1_ps(-104.0F), _mm256_min_ps(_mm256_set1_ps(89.0F), x));
  const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504F)),
                                   _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.62e4p-1F), x);
  r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.7f7d1cp-20F), r);
  __m256 p = _mm256_set1_ps(1.0F / 5040.0F);
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0F / 720.0F));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0F / 120.0F));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0F / 24.0F));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0F / 6.0F));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.5F));
  p = _mm256_fmadd_ps(_mm256_mul_ps(p, r), r, r);
  p = _mm256_add_ps(p, _mm256_set1_ps(1.0F));
  const __m256i whole = _mm256_cvtps_epi32(n);
  const __m256i first = _mm256_srai_epi32(whole, 1);
  p = _mm256_mul_ps(p, power_of_two(first));
  return _mm256_mul_ps(p, power_of_two(_mm256_sub_epi32(whole, first)));
}

}  // namespace
}  // namespace stepguard::avx2
