// The steps of an integer Linear without VNNI: products of bytes or 16-bit numbers, added in pairs,
// then to the sums. They are inline assembly because gcc 12 moves all products of an unrolled block
// before the additions, and then spills them.
#pragma once

#include "avx2/integers.h"
#include "vector/even_odd.h"

namespace stepguard::STEPGUARD_TABLE {
namespace {

// A step of the weights takes two instructions to unpack and a row two to multiply, so several
// blocks of rows unpack them once.
struct Pairs : Words {
  static constexpr bool kUnpacksOnce = true;
};

// int4 times 8 bits. Nibbles are the weights + 8, so 8 sum(x) is subtracted, before the products:
// every partial sum of 16 products then fits 16 bits, at most 16 * 8 * 127.
struct Int4 : Nibbles, Pairs {
  static void multiply(Sum& sum, Integers w, Integers x, int) {
    Integers product;
    asm volatile(
        "vpmaddubsw %[x], %[w], %[product]\n\t"
        "vpaddw %[product], %[sum], %[sum]"
        : [sum] "+x"(sum), [product] "=&x"(product)
        : [w] "x"(w), [x] "x"(x));
  }
  static Integers total(Sum sum, Shared) { return _mm256_madd_epi16(sum, _mm256_set1_epi16(1)); }

  // Two sums of 16 bits: a word's first two bytes go to one, the others to the other.
  static int32_t pack(const Integers* integers, uint32_t* words) {
    const __m256i sums = _mm256_maddubs_epi16(_mm256_set1_epi8(1), pack_bytes(integers, words));
    __m128i four = _mm_add_epi16(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    four = _mm_add_epi16(four, _mm_shuffle_epi32(four, 0x4E));
    four = _mm_add_epi16(four, _mm_shuffle_epi32(four, 0xB1));
    return _mm_cvtsi128_si32(_mm_sub_epi16(_mm_setzero_si128(), _mm_slli_epi16(four, 3)));
  }
};

// int8 times 16 bits: at most 32 * 128 * 32767 in a sum of 32 bits.
struct Int8 : Bytes, Pairs {
  static Sum start(int32_t) { return _mm256_setzero_si256(); }
  static void multiply(Sum& sum, Integers w, Integers x, int) {
    Integers product;
    asm volatile(
        "vpmaddwd %[x], %[w], %[product]\n\t"
        "vpaddd %[product], %[sum], %[sum]"
        : [sum] "+x"(sum), [product] "=&x"(product)
        : [w] "x"(w), [x] "x"(x));
  }
};

}  // namespace
}  // namespace stepguard::STEPGUARD_TABLE
