// Vectors of 4 floats of an aarch64, for the sources in vector/.
#pragma once

#include <arm_neon.h>

#include "kernels.h"

#define STEPGUARD_TABLE neon

namespace stepguard::neon {
namespace {

constexpr int kLanes = 4;
using Vec = float32x4_t;
using Integers = int32x4_t;

// How many things share a register tile; there are 32 registers.
constexpr int kFloatRows = 6;      // rows of a Linear with decoded weights
constexpr int kFewRowPanels = 2;   // panels, where a Linear has 1 or 2 rows
constexpr int kIntegerPanels = 1;  // panels that share the words of a row, of a Linear in integers
constexpr int kIntegerRows = 4;    // rows of a Linear in integers
constexpr int kQueries = 3;        // queries of attention
constexpr int kStateVectors = 8;   // of the delta rule: 16 KiB at k_dim 128

[[maybe_unused]] inline Vec zeros() { return vdupq_n_f32(0.0F); }
[[maybe_unused]] inline Vec splat(float x) { return vdupq_n_f32(x); }
[[maybe_unused]] inline Vec load(const float* from) { return vld1q_f32(from); }
[[maybe_unused]] inline Vec load_once(const float* from) { return load(from); }
[[maybe_unused]] inline void store(float* to, Vec v) { vst1q_f32(to, v); }

// Up to 4 floats, the other lanes zero; memory behind them is not touched.
[[maybe_unused]] inline Vec load_part(const float* from, int64_t count) {
  if (count >= kLanes) return load(from);
  float part[kLanes] = {};
  for (int64_t i = 0; i < count; ++i) part[i] = from[i];
  return load(part);
}
[[maybe_unused]] inline void store_part(float* to, Vec v, int64_t count) {
  if (count >= kLanes) return store(to, v);
  float part[kLanes];
  store(part, v);
  for (int64_t i = 0; i < count; ++i) to[i] = part[i];
}

// Four half floats.
[[maybe_unused]] inline Vec load_half(const uint16_t* from) {
  return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from)));
}
[[maybe_unused]] inline float one_half(uint16_t half) {
  return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(half))), 0);
}
[[maybe_unused]] inline Vec splat_half(uint16_t half) { return splat(one_half(half)); }
[[maybe_unused]] inline void store_half(uint16_t* to, Vec v) {
  vst1_u16(to, vreinterpret_u16_f16(vcvt_f16_f32(v)));
}

// Up to 4 bytes as floats.
[[maybe_unused]] inline Vec load_bytes(const int8_t* from, int64_t count) {
  int32_t part[kLanes] = {};
  for (int64_t i = 0; i < kLanes && i < count; ++i) part[i] = from[i];
  return vcvtq_f32_s32(vld1q_s32(part));
}

[[maybe_unused]] inline Vec add(Vec a, Vec b) { return vaddq_f32(a, b); }
[[maybe_unused]] inline Vec sub(Vec a, Vec b) { return vsubq_f32(a, b); }
[[maybe_unused]] inline Vec mul(Vec a, Vec b) { return vmulq_f32(a, b); }
[[maybe_unused]] inline Vec div(Vec a, Vec b) { return vdivq_f32(a, b); }
[[maybe_unused]] inline Vec larger(Vec a, Vec b) { return vmaxq_f32(a, b); }
[[maybe_unused]] inline Vec fma(Vec a, Vec b, Vec c) { return vfmaq_f32(c, a, b); }
[[maybe_unused]] inline Vec fnma(Vec a, Vec b, Vec c) { return vfmsq_f32(c, a, b); }
// a b - c d; the first product is the one that is rounded.
[[maybe_unused]] inline Vec difference(Vec a, Vec b, Vec c, Vec d) { return fnma(c, d, mul(a, b)); }
[[maybe_unused]] inline Vec negative(Vec v) { return vnegq_f32(v); }
// NaN stays NaN in both.
[[maybe_unused]] inline Vec clamp(Vec v, float low, float high) {
  return vmaxq_f32(splat(low), vminq_f32(splat(high), v));
}
// The first `count` lanes of v, `rest` in the others.
[[maybe_unused]] inline Vec keep_first(Vec v, int64_t count, float rest) {
  static const int32_t numbers[kLanes] = {0, 1, 2, 3};
  const uint32x4_t first = vcltq_s32(vld1q_s32(numbers), vdupq_n_s32(static_cast<int32_t>(count)));
  return vbslq_f32(first, v, splat(rest));
}

[[maybe_unused]] inline Vec nearest(Vec v) { return vrndnq_f32(v); }
[[maybe_unused]] inline Integers to_integers(Vec v) { return vcvtnq_s32_f32(v); }
[[maybe_unused]] inline Vec to_floats(Integers n) { return vcvtq_f32_s32(n); }

// 2^n for lanes -126..127.
[[maybe_unused]] inline Vec power_of_two(Integers n) {
  return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23));
}
[[maybe_unused]] inline Vec times_power_of_two(Vec v, Integers n) {
  const Integers first = vshrq_n_s32(n, 1);
  return mul(mul(v, power_of_two(first)), power_of_two(vsubq_s32(n, first)));
}

// (0+1) + (2+3): one order for every sum over lanes.
[[maybe_unused]] inline float sum_lanes(Vec v) { return vaddvq_f32(v); }
[[maybe_unused]] inline float max_lanes(Vec v) { return vmaxvq_f32(v); }
[[maybe_unused]] inline float first_lane(Vec v) { return vgetq_lane_f32(v, 0); }

[[maybe_unused]] inline double square_root(double x) {
  return vgetq_lane_f64(vsqrtq_f64(vdupq_n_f64(x)), 0);
}
[[maybe_unused]] inline double sum_squares(const float* x, int64_t count) {
  float64x2_t low = vdupq_n_f64(0.0);
  float64x2_t high = low;
  for (int64_t i = 0; i < count; i += kLanes) {
    const Vec v = load_part(x + i, count - i);
    const float64x2_t a = vcvt_f64_f32(vget_low_f32(v));
    const float64x2_t b = vcvt_high_f64_f32(v);
    low = vfmaq_f64(low, a, a);
    high = vfmaq_f64(high, b, b);
  }
  return vaddvq_f64(vaddq_f64(low, high));
}

// Asks for a line that is needed soon, or a little later. Addresses need not be valid.
[[maybe_unused]] inline void prefetch(const void* line) { __builtin_prefetch(line, 0, 3); }
[[maybe_unused]] inline void prefetch_far(const void* line) { __builtin_prefetch(line, 0, 2); }

}  // namespace
}  // namespace stepguard::neon
