// IEEE half precision in plain integer arithmetic, for CPUs and tables without an instruction.
#include <cstring>

#include "kernels.h"

namespace stepguard {
namespace {

float from_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

uint32_t to_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

// value / 2^shift, rounded to nearest, ties to even.
uint32_t shift_round(uint32_t value, uint32_t shift) {
  const uint32_t kept = value >> shift;
  const uint32_t rest = value & ((1U << shift) - 1U);
  const uint32_t tie = 1U << (shift - 1U);
  return kept + (rest > tie || (rest == tie && (kept & 1U) != 0) ? 1U : 0U);
}

}  // namespace

float half_to_float(uint16_t half) {
  const uint32_t sign = (half & 0x8000U) << 16;
  const uint32_t exponent = (half >> 10) & 0x1FU;
  const uint32_t mantissa = half & 0x3FFU;
  if (exponent == 31) {  // Inf, or a NaN made quiet
    return from_bits(sign | 0x7F800000U | (mantissa << 13) | (mantissa != 0 ? 0x400000U : 0U));
  }
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24, exact in float32
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
    return from_bits(sign | to_bits(magnitude));
  }
  return from_bits(sign | ((exponent + 112U) << 23) | (mantissa << 13));
}

uint16_t float_to_half(float value) {
  const uint32_t bits = to_bits(value);
  const uint32_t sign = (bits >> 16) & 0x8000U;
  const uint32_t magnitude = bits & 0x7FFFFFFFU;
  uint32_t half = 0;
  if (magnitude > 0x7F800000U) {  // NaN: quiet, upper payload kept
    half = 0x7E00U | ((magnitude >> 13) & 0x3FFU);
  } else if (magnitude >= 0x47800000U) {  // 65536 and above, Inf included
    half = 0x7C00U;
  } else if (magnitude >= 0x38800000U) {  // normal; a carry runs into the exponent, up to Inf
    half = shift_round(magnitude - (112U << 23), 13);
  } else if (magnitude >= 0x33000000U) {  // subnormal: at least half of the smallest
    const uint32_t exponent = magnitude >> 23;
    half = shift_round((magnitude & 0x7FFFFFU) | 0x800000U, 126U - exponent);
  }
  return static_cast<uint16_t>(sign | half);
}

}  // namespace stepguard
