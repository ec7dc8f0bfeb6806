// The intrinsics of AVX-512, included before the files that use them: SIMDe has most, written by
// others, and the rest is here in plain loops.
#pragma once

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

#include <cmath>
#include <cstdint>
#include <cstring>

namespace stepguard_emulation {
namespace {

[[maybe_unused]] __m512 load_masked(__mmask16 mask, const void* from) {
  float lanes[16] = {};
  for (int i = 0; i < 16; ++i) {
    if ((mask >> i & 1) != 0) std::memcpy(lanes + i, static_cast<const float*>(from) + i, 4);
  }
  return _mm512_loadu_ps(lanes);
}
[[maybe_unused]] void store_masked(void* to, __mmask16 mask, __m512 v) {
  float lanes[16];
  _mm512_storeu_ps(lanes, v);
  for (int i = 0; i < 16; ++i) {
    if ((mask >> i & 1) != 0) std::memcpy(static_cast<float*>(to) + i, lanes + i, 4);
  }
}

// Each half of a 512-bit vector through an instruction that AVX2 has.
[[maybe_unused]] __m256i half(__m512i v, int i) {
  alignas(64) __m256i halves[2];
  _mm512_store_si512(halves, v);
  return halves[i];
}
[[maybe_unused]] __m512i joined(__m256i low, __m256i high) {
  alignas(64) const __m256i halves[2] = {low, high};
  return _mm512_load_si512(halves);
}
[[maybe_unused]] __m512 from_half(__m256i v) {
  const __m256 low = _mm256_cvtph_ps(_mm256_castsi256_si128(v));
  const __m256 high = _mm256_cvtph_ps(_mm256_extracti128_si256(v, 1));
  return _mm512_castsi512_ps(joined(_mm256_castps_si256(low), _mm256_castps_si256(high)));
}
[[maybe_unused]] __m512 to_floats(__m512i v) {
  const __m256 low = _mm256_cvtepi32_ps(half(v, 0));
  const __m256 high = _mm256_cvtepi32_ps(half(v, 1));
  return _mm512_castsi512_ps(joined(_mm256_castps_si256(low), _mm256_castps_si256(high)));
}
[[maybe_unused]] __m512i to_integers(__m512 v) {
  const __m512i bits = _mm512_castps_si512(v);
  return joined(_mm256_cvtps_epi32(_mm256_castsi256_ps(half(bits, 0))),
                _mm256_cvtps_epi32(_mm256_castsi256_ps(half(bits, 1))));
}
[[maybe_unused]] __m512i shift_signed(__m512i v, int bits) {
  return joined(_mm256_srai_epi32(half(v, 0), bits), _mm256_srai_epi32(half(v, 1), bits));
}
[[maybe_unused]] __m512d to_doubles(__m256 v) {
  const __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(v));
  const __m256d high = _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
  return _mm512_castsi512_pd(joined(_mm256_castpd_si256(low), _mm256_castpd_si256(high)));
}

// The low 8 or 16 bits of each lane.
template <class Narrow, class Vector>
Vector narrowed(__m512i v) {
  int32_t lanes[16];
  Narrow narrow[16];
  _mm512_storeu_si512(lanes, v);
  for (int i = 0; i < 16; ++i) narrow[i] = static_cast<Narrow>(lanes[i]);
  Vector result;
  std::memcpy(&result, narrow, sizeof result);
  return result;
}

}  // namespace
}  // namespace stepguard_emulation

#undef _mm512_maskz_loadu_ps
#undef _mm512_mask_storeu_ps
#undef _mm512_cvtph_ps
#undef _mm512_cvtepi32_ps
#undef _mm512_cvtps_epi32
#undef _mm512_srai_epi32
#undef _mm512_cvtps_pd
#undef _mm512_cvtepi32_epi8
#undef _mm512_cvtepi32_epi16
#define _mm512_maskz_loadu_ps stepguard_emulation::load_masked
#define _mm512_mask_storeu_ps stepguard_emulation::store_masked
#define _mm512_cvtph_ps stepguard_emulation::from_half
#define _mm512_cvtepi32_ps stepguard_emulation::to_floats
#define _mm512_cvtps_epi32 stepguard_emulation::to_integers
#define _mm512_srai_epi32 stepguard_emulation::shift_signed
#define _mm512_cvtps_pd stepguard_emulation::to_doubles
#define _mm512_cvtepi32_epi8 stepguard_emulation::narrowed<int8_t, __m128i>
#define _mm512_cvtepi32_epi16 stepguard_emulation::narrowed<int16_t, __m256i>
