// How a row becomes integers, where a Linear multiplies in integers: every 32 elements along k
// share a scale of their own, the largest magnitude over kLevels. Beside int4 weights an element
// has 8 bits, beside int8 weights 16: AVX2 multiplies 16 bits with 8 as fast as 8 with 8, and then
// the rounding of the rows is far below that of the weights.
//
// The steps are exact IEEE operations, so all tables round alike. The functions are static: no
// table may share a symbol that was compiled for its instruction set.
#pragma once

#include <cstring>

#include "kernels.h"

namespace stepguard {

STEPGUARD_DEVICE static inline float integer_levels(WeightFormat format) {
  return format == WeightFormat::kInt4 ? 127.0F : 32767.0F;
}

// An element is nearest(x * inverse), ties to even, and stands for scale * integer.
struct IntegerScale {
  float scale, inverse;
};

// The scale of 32 elements, from the largest of their magnitudes as bits: those of NaN and Inf are
// above those of all numbers. Elements that are no number must not become one: all 32 are 0 then,
// and the scale is NaN. Elements below 2^-100, whose inverse might be no number, are 0.
STEPGUARD_DEVICE static inline IntegerScale integer_scale(uint32_t magnitude_bits, float levels) {
  float magnitude;
  std::memcpy(&magnitude, &magnitude_bits, sizeof magnitude);
  if (magnitude_bits >= 0x7F800000U) return {__builtin_nanf(""), 0.0F};
  if (magnitude < 0x1p-100F) return {0.0F, 0.0F};
  return {magnitude / levels, levels / magnitude};
}

}  // namespace stepguard
