// How rows and weights become bfloat16, where a Linear multiplies in bfloat16: a float32 without
// its lower 16 bits.
//
// The functions are static: no table may share a symbol that was compiled for its instruction set.
#pragma once

#include <cstring>

#include "kernels.h"

namespace stepguard {

// Scales are multiplied with this before scale * value is cut: a cut takes half a step off in the
// mean, 2^-8 over the significand, whose inverse has the mean 1 / (2 ln 2) if its logarithm is
// even.
constexpr float kBfloat16Centre = 1.0F + 0.72F * 0x1p-8F;

static inline float from_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
static inline uint32_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

// A number too small for a normal bfloat16 is zero for the instruction that multiplies.
static inline float flush_bfloat16(uint32_t bits) {
  return (bits & 0x7F800000U) == 0 ? 0.0F : from_bits(bits & 0xFFFF0000U);
}

// An element of a row: to the nearest, ties to even; NaN stays NaN.
static inline float round_to_bfloat16(float x) {
  const uint32_t bits = bits_of(x);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return from_bits(bits | 0x00400000U);
  if ((bits & 0x7F800000U) == 0) return 0.0F;
  return flush_bfloat16(bits + 0x7FFFU + (bits >> 16 & 1U));
}

// A weight of a block with this scale.
static inline float bfloat16_weight(float scale, float value) {
  return flush_bfloat16(bits_of(value * (scale * kBfloat16Centre)));
}

}  // namespace stepguard
