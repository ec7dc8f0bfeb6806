// The steps of an integer Linear with the VNNI instructions, which add the products of four bytes
// or two 16-bit numbers to a sum of 32 bits, nothing saturated.
#pragma once

#include "vector/even_odd.h"

namespace stepguard::STEPGUARD_TABLE {
namespace {

struct Vnni : Words {
  static constexpr bool kUnpacksOnce = false;
};

// int4 times 8 bits. Nibbles are the weights + 8, so a sum begins with -8 sum(x).
struct Int4 : Nibbles, Vnni {
  static void multiply(Sum& sum, Integers w, Integers x, int) { sum = dot_bytes(sum, w, x); }

  static int32_t pack(const Integers* integers, uint32_t* words) {
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), pack_bytes(integers, words));
    const __m256i sums = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4E));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0xB1));
    return -8 * _mm_cvtsi128_si32(four);
  }
};

// int8 times 16 bits: at most 32 * 128 * 32767 in a sum.
struct Int8 : Bytes, Vnni {
  static void multiply(Sum& sum, Integers w, Integers x, int) { sum = dot_shorts(sum, w, x); }
};

}  // namespace
}  // namespace stepguard::STEPGUARD_TABLE
