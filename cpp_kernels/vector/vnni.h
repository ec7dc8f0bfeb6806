// The steps of an integer Linear with the VNNI instructions, which add the products of four bytes
// or two 16-bit numbers to a sum of 32 bits, nothing saturated. Weights are unpacked to even and
// odd nibbles or bytes, which is cheaper than their own order; packing puts the rows into the same
// order.
#pragma once

#include "vector/math.h"

namespace stepguard::STEPGUARD_TABLE {
namespace {

struct Nothing {};

// What both kinds share.
struct Vnni {
  using Sum = Integers;
  using Shared = Nothing;  // between the rows

  static Sum start(int32_t sum) { return splat_integer(sum); }
  static void share(Shared&, Integers, int) {}
  static Integers row(uint32_t word) { return splat_integer(static_cast<int32_t>(word)); }
  static Integers total(Sum sum, Shared) { return sum; }
};

// int4 times 8 bits. Nibbles are the weights + 8, so a sum begins with -8 sum(x).
struct Int4 : Vnni {
  static constexpr int kSteps = 8;
  static constexpr int64_t kBlockBytes = kBlock * kPanel / 2;

  // The weights of step `step` for part p of the columns: nibbles 0, 2, 4, 6 of 8 k, then 1, 3, 5,
  // 7.
  static Integers unpack(const uint8_t* data, int step, int p) {
    return nibble_bytes(load_words(data + step / 2 * kPanel * 4 + p * kLanes * 4), step % 2 == 1);
  }
  static void multiply(Sum& sum, Integers w, Integers x, int) { sum = dot_bytes(sum, w, x); }

  static int32_t pack(const Integers* integers, uint32_t* words) {
    const __m256i order = _mm256_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15,  //
                                           0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15);
    const __m256i bytes = narrow_to_bytes(integers);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(words), _mm256_shuffle_epi8(bytes, order));
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes);
    const __m256i sums = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4E));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0xB1));
    return -8 * _mm_cvtsi128_si32(four);
  }
};

// int8 times 16 bits: at most 32 * 128 * 32767 in a sum.
struct Int8 : Vnni {
  static constexpr int kSteps = 16;
  static constexpr int64_t kBlockBytes = kBlock * kPanel;

  // Bytes 0 and 2 of 4 k as 16 bits, then 1 and 3.
  static Integers unpack(const uint8_t* data, int step, int p) {
    return byte_shorts(load_words(data + step / 2 * kPanel * 4 + p * kLanes * 4), step % 2 == 1);
  }
  static void multiply(Sum& sum, Integers w, Integers x, int) { sum = dot_shorts(sum, w, x); }

  static int32_t pack(const Integers* integers, uint32_t* words) {
    const __m256i order = _mm256_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15,  //
                                           0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15);
    for (int half = 0; half < 2; ++half) {
      const __m256i shorts = narrow_to_shorts(integers + half * (kPanel / kLanes));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(words) + half,
                          _mm256_shuffle_epi8(shorts, order));
    }
    return 0;
  }
};

}  // namespace
}  // namespace stepguard::STEPGUARD_TABLE
