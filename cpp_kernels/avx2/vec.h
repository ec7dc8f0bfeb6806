// Vectors of 8 floats, for the sources in vector/.
#pragma once

#include <immintrin.h>

#include "kernels.h"

#if !defined(STEPGUARD_TABLE)  // the table avxvnni has the same vectors
#define STEPGUARD_TABLE avx2
#endif

namespace stepguard::STEPGUARD_TABLE {
namespace {

constexpr int kLanes = 8;
using Vec = __m256;
using Integers = __m256i;

// How many things share a register tile; there are 16 registers.
constexpr int kFloatRows = 6;      // rows of a Linear with decoded weights
constexpr int kFewRowPanels = 2;   // panels, where a Linear has 1 or 2 rows
constexpr int kIntegerPanels = 1;  // panels that share the words of a row, of a Linear in integers
constexpr int kIntegerRows = 4;    // rows of a Linear in integers: products need registers too
constexpr int kQueries = 3;        // queries of attention
constexpr int kStateVectors = 4;   // of the delta rule: 16 KiB at k_dim 128, half of a first cache

// The first `count` (0 to 8) lanes set.
[[maybe_unused]] inline __m256i first_lanes(int64_t count) {
  alignas(32) static const int32_t bits[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bits + kLanes - count));
}

[[maybe_unused]] inline Vec zeros() { return _mm256_setzero_ps(); }
[[maybe_unused]] inline Vec splat(float x) { return _mm256_set1_ps(x); }
[[maybe_unused]] inline Vec load(const float* from) { return _mm256_loadu_ps(from); }
// For more than one use: gcc 12 would load it again for each of them.
[[maybe_unused]] inline Vec load_once(const float* from) {
  Vec v = load(from);
  asm("" : "+x"(v));
  return v;
}
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
[[maybe_unused]] inline float one_half(uint16_t half) { return _cvtsh_ss(half); }
[[maybe_unused]] inline Vec splat_half(uint16_t half) {
  return _mm256_cvtph_ps(_mm_set1_epi16(static_cast<int16_t>(half)));
}
[[maybe_unused]] inline void store_half(uint16_t* to, Vec v) {
  const __m128i half = _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), half);
}

// Up to 8 bytes as floats; memory behind them is not touched.
[[maybe_unused]] inline Vec load_bytes(const int8_t* from, int64_t count) {
  __m128i bytes;
  if (count >= kLanes) {
    bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
  } else {
    alignas(16) int8_t part[16] = {};
    for (int64_t i = 0; i < count; ++i) part[i] = from[i];
    bytes = _mm_load_si128(reinterpret_cast<const __m128i*>(part));
  }
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
}

[[maybe_unused]] inline Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
[[maybe_unused]] inline Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
[[maybe_unused]] inline Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
[[maybe_unused]] inline Vec div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
[[maybe_unused]] inline Vec larger(Vec a, Vec b) { return _mm256_max_ps(a, b); }
[[maybe_unused]] inline Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
[[maybe_unused]] inline Vec fnma(Vec a, Vec b, Vec c) { return _mm256_fnmadd_ps(a, b, c); }
// a b - c d; the second product is the one that is rounded.
[[maybe_unused]] inline Vec difference(Vec a, Vec b, Vec c, Vec d) {
  return _mm256_fmsub_ps(a, b, mul(c, d));
}
[[maybe_unused]] inline Vec negative(Vec v) { return _mm256_xor_ps(v, splat(-0.0F)); }
// max and min return their second operand when one is NaN.
[[maybe_unused]] inline Vec clamp(Vec v, float low, float high) {
  return _mm256_max_ps(splat(low), _mm256_min_ps(splat(high), v));
}
// The first `count` lanes of v, `rest` in the others.
[[maybe_unused]] inline Vec keep_first(Vec v, int64_t count, float rest) {
  return _mm256_blendv_ps(splat(rest), v, _mm256_castsi256_ps(first_lanes(count)));
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

// ((0+4) + (2+6)) + ((1+5) + (3+7)): one order for every sum over lanes.
[[maybe_unused]] inline float sum_lanes(Vec v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
[[maybe_unused]] inline float max_lanes(Vec v) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
[[maybe_unused]] inline float first_lane(Vec v) { return _mm256_cvtss_f32(v); }

[[maybe_unused]] inline double square_root(double x) {
  return _mm_cvtsd_f64(_mm_sqrt_pd(_mm_set1_pd(x)));
}
[[maybe_unused]] inline double sum_squares(const float* x, int64_t count) {
  __m256d low = _mm256_setzero_pd();
  __m256d high = _mm256_setzero_pd();
  for (int64_t i = 0; i < count; i += kLanes) {
    const Vec v = load_part(x + i, count - i);
    const __m256d a = _mm256_cvtps_pd(_mm256_castps256_ps128(v));
    const __m256d b = _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
    low = _mm256_fmadd_pd(a, a, low);
    high = _mm256_fmadd_pd(b, b, high);
  }
  const __m256d both = _mm256_add_pd(low, high);
  const __m128d s = _mm_add_pd(_mm256_castpd256_pd128(both), _mm256_extractf128_pd(both, 1));
  return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
}

// Asks for a line that is needed soon, or a little later. Addresses need not be valid.
[[maybe_unused]] inline void prefetch(const void* line) {
  _mm_prefetch(static_cast<const char*>(line), _MM_HINT_T0);
}
[[maybe_unused]] inline void prefetch_far(const void* line) {
  _mm_prefetch(static_cast<const char*>(line), _MM_HINT_T1);
}

}  // namespace
}  // namespace stepguard::STEPGUARD_TABLE
