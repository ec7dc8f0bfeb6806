// Integers of 16 columns, for the Linear in vector/.
#pragma once

#include "avx512/vec.h"

namespace stepguard::STEPGUARD_TABLE {
namespace {

[[maybe_unused]] inline Integers splat_integer(int32_t n) { return _mm512_set1_epi32(n); }

// A 32-bit word of packed weights of each column.
[[maybe_unused]] inline Integers load_words(const uint8_t* from) {
  return _mm512_loadu_si512(from);
}
// Nibble r of each word; byte r of each, with its sign.
[[maybe_unused]] inline Integers nibble(Integers words, int r) {
  return _mm512_and_si512(_mm512_srli_epi32(words, static_cast<unsigned>(4 * r)),
                          _mm512_set1_epi32(15));
}
[[maybe_unused]] inline Integers signed_byte(Integers words, int r) {
  return _mm512_srai_epi32(_mm512_slli_epi32(words, static_cast<unsigned>(24 - 8 * r)), 24);
}

// The low or the high nibble of each byte.
[[maybe_unused]] inline Integers nibble_bytes(Integers words, bool high) {
  return _mm512_and_si512(high ? _mm512_srli_epi16(words, 4) : words, _mm512_set1_epi8(15));
}
// The low or the high byte of each 16 bits, with its sign.
[[maybe_unused]] inline Integers byte_shorts(Integers words, bool high) {
  return _mm512_srai_epi16(high ? words : _mm512_slli_epi16(words, 8), 8);
}

// sum + products of four bytes, w without sign and x with; of two 16-bit numbers.
[[maybe_unused]] inline Integers dot_bytes(Integers sum, Integers w, Integers x) {
  return _mm512_dpbusd_epi32(sum, w, x);
}
[[maybe_unused]] inline Integers dot_shorts(Integers sum, Integers w, Integers x) {
  return _mm512_dpwssd_epi32(sum, w, x);
}

// 32 integers that fit as bytes, in order; 16 as 16-bit numbers.
[[maybe_unused]] inline __m256i narrow_to_bytes(const Integers* n) {
  return _mm256_set_m128i(_mm512_cvtepi32_epi8(n[1]), _mm512_cvtepi32_epi8(n[0]));
}
[[maybe_unused]] inline __m256i narrow_to_shorts(const Integers* n) {
  return _mm512_cvtepi32_epi16(n[0]);
}

// The bits of the largest magnitude of up to 32 elements; as integers NaN and Inf are larger than
// numbers.
[[maybe_unused]] inline uint32_t largest_magnitude(const float* x, int64_t count) {
  const Integers bits = _mm512_set1_epi32(0x7FFFFFFF);
  Integers most = _mm512_setzero_si512();
  for (int64_t i = 0; i < count; i += kLanes) {
    const Integers part = _mm512_castps_si512(load_part(x + i, count - i));
    most = _mm512_max_epi32(most, _mm512_and_si512(part, bits));
  }
  __m256i eight =
      _mm256_max_epi32(_mm512_castsi512_si256(most), _mm512_extracti64x4_epi64(most, 1));
  __m128i four = _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4E));
  four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0xB1));
  return static_cast<uint32_t>(_mm_cvtsi128_si32(four));
}

}  // namespace
}  // namespace stepguard::STEPGUARD_TABLE

// The steps of a Linear that are made of these.
#include "vector/vnni.h"
