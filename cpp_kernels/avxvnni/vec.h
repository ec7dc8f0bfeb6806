// Vectors of 8 floats, for the sources of Linear in vector/.
#pragma once

#include <immintrin.h>

#include "kernels.h"

#define STEPGUARD_TABLE avxvnni

namespace stepguard::avxvnni {
namespace {

constexpr int kLanes = 8;
using Vec = __m256;
using Integers = __m256i;

// Rows and panels that share a register tile; there are 16 registers.
constexpr int kFloatRows = 4;
constexpr int kFewRowPanels = 2;
constexpr int kIntegerRows = 4;

[[maybe_unused]] inline __m256i first_lanes(int64_t count) {
  alignas(32) static const int32_t bits[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bits + kLanes - count));
}

[[maybe_unused]] inline Vec zeros() { return _mm256_setzero_ps(); }
[[maybe_unused]] inline Vec splat(float x) { return _mm256_set1_ps(x); }
[[maybe_unused]] inline Vec load(const float* from) { return _mm256_loadu_ps(from); }
[[maybe_unused]] inline void store(float* to, Vec v) { _mm256_storeu_ps(to, v); }

// Up to 8 floats, the other lanes zero; memory behind them is not touched.
[[maybe_unused]] inline Vec load_part(const float* from, int64_t count) {
  return count >= kLanes ? load(from) : _mm256_maskload_ps(from, first_lanes(count));
}
[[maybe_unused]] inline void store_part(float* to, Vec v, int64_t count) {
  if (count >= kLanes) {
    store(to, v);
  } else {
    _mm256_maskstore_ps(to, first_lanes(count), v);
  }
}

// Eight half floats.
[[maybe_unused]] inline Vec load_half(const uint16_t* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

[[maybe_unused]] inline Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
[[maybe_unused]] inline Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
[[maybe_unused]] inline Vec div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
[[maybe_unused]] inline Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
[[maybe_unused]] inline Vec fnma(Vec a, Vec b, Vec c) { return _mm256_fnmadd_ps(a, b, c); }
[[maybe_unused]] inline Vec negative(Vec v) { return _mm256_xor_ps(v, splat(-0.0F)); }
// max and min return their second operand when one is NaN.
[[maybe_unused]] inline Vec clamp(Vec v, float low, float high) {
  return _mm256_max_ps(splat(low), _mm256_min_ps(splat(high), v));
}

[[maybe_unused]] inline Vec nearest(Vec v) {
  return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
[[maybe_unused]] inline Integers to_integers(Vec v) { return _mm256_cvtps_epi32(v); }
[[maybe_unused]] inline Vec to_floats(Integers n) { return _mm256_cvtepi32_ps(n); }

// 2^n for lanes -126..127.
[[maybe_unused]] inline Vec power_of_two(Integers n) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}
[[maybe_unused]] inline Vec times_power_of_two(Vec v, Integers n) {
  const Integers first = _mm256_srai_epi32(n, 1);
  return mul(mul(v, power_of_two(first)), power_of_two(_mm256_sub_epi32(n, first)));
}

[[maybe_unused]] inline void prefetch(const void* line) {
  _mm_prefetch(static_cast<const char*>(line), _MM_HINT_T0);
}

}  // namespace
}  // namespace stepguard::avxvnni
