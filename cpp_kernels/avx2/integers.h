// Integers of 8 columns, for the Linear in vector/.
#pragma once

#include "avx2/vec.h"

namespace stepguard::STEPGUARD_TABLE {
namespace {

[[maybe_unused]] inline Integers splat_integer(int32_t n) { return _mm256_set1_epi32(n); }

// A 32-bit word of packed weights of each column.
[[maybe_unused]] inline Integers load_words(const uint8_t* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}
[[maybe_unused]] inline void store_words(uint8_t* to, Integers words) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), words);
}
// Nibble r of each word; byte r of each, with its sign.
[[maybe_unused]] inline Integers nibble(Integers words, int r) {
  return _mm256_and_si256(_mm256_srli_epi32(words, 4 * r), _mm256_set1_epi32(15));
}
[[maybe_unused]] inline Integers signed_byte(Integers words, int r) {
  return _mm256_srai_epi32(_mm256_slli_epi32(words, 24 - 8 * r), 24);
}

// The low or the high nibble of each byte.
[[maybe_unused]] inline Integers nibble_bytes(Integers words, bool high) {
  return _mm256_and_si256(high ? _mm256_srli_epi16(words, 4) : words, _mm256_set1_epi8(15));
}
// The low or the high byte of each 16 bits, with its sign.
[[maybe_unused]] inline Integers byte_shorts(Integers words, bool high) {
  return _mm256_srai_epi16(high ? words : _mm256_slli_epi16(words, 8), 8);
}

// 32 integers that fit as bytes, in order (packing mixes the halves of its inputs); 16 as 16-bit
// numbers.
[[maybe_unused]] inline __m256i narrow_to_bytes(const Integers* n) {
  const __m256i first = _mm256_packs_epi32(n[0], n[1]);
  const __m256i second = _mm256_packs_epi32(n[2], n[3]);
  return _mm256_permutevar8x32_epi32(_mm256_packs_epi16(first, second),
                                     _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}
[[maybe_unused]] inline __m256i narrow_to_shorts(const Integers* n) {
  return _mm256_permute4x64_epi64(_mm256_packs_epi32(n[0], n[1]), 0xD8);
}

// The bits of the largest magnitude of up to 32 elements; as integers NaN and Inf are larger than
// numbers.
[[maybe_unused]] inline uint32_t largest_magnitude(const float* x, int64_t count) {
  const Integers bits = _mm256_set1_epi32(0x7FFFFFFF);
  Integers most = _mm256_setzero_si256();
  for (int64_t i = 0; i < count; i += kLanes) {
    const Integers part = _mm256_castps_si256(load_part(x + i, count - i));
    most = _mm256_max_epi32(most, _mm256_and_si256(part, bits));
  }
  __m128i four = _mm_max_epi32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
  four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4E));
  four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0xB1));
  return static_cast<uint32_t>(_mm_cvtsi128_si32(four));
}

}  // namespace
}  // namespace stepguard::STEPGUARD_TABLE
