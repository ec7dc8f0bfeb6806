// Vectors of 16 floats, for the sources in vector/.
#pragma once

#include <immintrin.h>

#include "kernels.h"

#if !defined(STEPGUARD_TABLE)  // the table amx has the same vectors
#define STEPGUARD_TABLE avx512
#endif

namespace stepguard::STEPGUARD_TABLE {
namespace {

constexpr int kLanes = 16;
using Vec = __m512;
using Integers = __m512i;

// How many things share a register tile; there are 32 registers.
constexpr int kFloatRows = 12;     // rows of a Linear with decoded weights
constexpr int kFewRowPanels = 4;   // panels, where a Linear has 1 or 2 rows
constexpr int kIntegerPanels = 2;  // panels that share the words of a row, of a Linear in integers
constexpr int kIntegerRows = 8;    // rows of a Linear in integers
constexpr int kQueries = 8;        // queries of attention
constexpr int kStateVectors = 2;   // of the delta rule: 16 KiB at k_dim 128, half of a first cache

[[maybe_unused]] inline __mmask16 first_lanes(int64_t count) {
  return static_cast<__mmask16>((1U << count) - 1U);
}

[[maybe_unused]] inline Vec zeros() { return _mm512_setzero_ps(); }
[[maybe_unused]] inline Vec splat(float x) { return _mm512_set1_ps(x); }
[[maybe_unused]] inline Vec load(const float* from) { return _mm512_loadu_ps(from); }
[[maybe_unused]] inline Vec load_once(const float* from) { return load(from); }
[[maybe_unused]] inline void store(float* to, Vec v) { _mm512_storeu_ps(to, v); }

// Up to 16 floats, the other lanes zero; memory behind them is not touched.
[[maybe_unused]] inline Vec load_part(const float* from, int64_t count) {
  return count >= kLanes ? load(from) : _mm512_maskz_loadu_ps(first_lanes(count), from);
}
[[maybe_unused]] inline void store_part(float* to, Vec v, int64_t count) {
  if (count >= kLanes) {
    store(to, v);
  } else {
    _mm512_mask_storeu_ps(to, first_lanes(count), v);
  }
}

// Sixteen half floats.
[[maybe_unused]] inline Vec load_half(const uint16_t* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}
[[maybe_unused]] inline float one_half(uint16_t half) { return _cvtsh_ss(half); }

[[maybe_unused]] inline Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
[[maybe_unused]] inline Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
[[maybe_unused]] inline Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
[[maybe_unused]] inline Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
[[maybe_unused]] inline Vec larger(Vec a, Vec b) { return _mm512_max_ps(a, b); }
[[maybe_unused]] inline Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
[[maybe_unused]] inline Vec fnma(Vec a, Vec b, Vec c) { return _mm512_fnmadd_ps(a, b, c); }
[[maybe_unused]] inline Vec negative(Vec v) {
  return _mm512_castsi512_ps(
      _mm512_xor_si512(_mm512_castps_si512(v), _mm512_set1_epi32(INT32_MIN)));
}
// max and min return their second operand when one is NaN.
[[maybe_unused]] inline Vec clamp(Vec v, float low, float high) {
  return _mm512_max_ps(splat(low), _mm512_min_ps(splat(high), v));
}
// The first `count` lanes of v, `rest` in the others.
[[maybe_unused]] inline Vec keep_first(Vec v, int64_t count, float rest) {
  return _mm512_mask_mov_ps(splat(rest), first_lanes(count), v);
}

[[maybe_unused]] inline Vec nearest(Vec v) {
  return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
[[maybe_unused]] inline Integers to_integers(Vec v) { return _mm512_cvtps_epi32(v); }
[[maybe_unused]] inline Vec to_floats(Integers n) { return _mm512_cvtepi32_ps(n); }

// 2^n for lanes -126..127.
[[maybe_unused]] inline Vec power_of_two(Integers n) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(n, _mm512_set1_epi32(127)), 23));
}
[[maybe_unused]] inline Vec times_power_of_two(Vec v, Integers n) {
  const Integers first = _mm512_srai_epi32(n, 1);
  return mul(mul(v, power_of_two(first)), power_of_two(_mm512_sub_epi32(n, first)));
}

// Lanes i and i + 8, then as the eight lanes of avx2: one order for every sum over lanes.
[[maybe_unused]] inline float sum_lanes(Vec v) {
  const __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1));
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(v), high);
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
[[maybe_unused]] inline float max_lanes(Vec v) {
  const __m256 high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1));
  const __m256 half = _mm256_max_ps(_mm512_castps512_ps256(v), high);
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

[[maybe_unused]] inline float first_lane(Vec v) { return _mm_cvtss_f32(_mm512_castps512_ps128(v)); }

[[maybe_unused]] inline double square_root(double x) {
  return _mm_cvtsd_f64(_mm_sqrt_pd(_mm_set1_pd(x)));
}
[[maybe_unused]] inline double sum_squares(const float* x, int64_t count) {
  __m512d low = _mm512_setzero_pd();
  __m512d high = _mm512_setzero_pd();
  for (int64_t i = 0; i < count; i += kLanes) {
    const Vec v = load_part(x + i, count - i);
    const __m512d a = _mm512_cvtps_pd(_mm512_castps512_ps256(v));
    const __m512d b =
        _mm512_cvtps_pd(_mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1)));
    low = _mm512_fmadd_pd(a, a, low);
    high = _mm512_fmadd_pd(b, b, high);
  }
  const __m512d both = _mm512_add_pd(low, high);
  const __m256d half = _mm256_add_pd(_mm512_castpd512_pd256(both), _mm512_extractf64x4_pd(both, 1));
  const __m128d s = _mm_add_pd(_mm256_castpd256_pd128(half), _mm256_extractf128_pd(half, 1));
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
