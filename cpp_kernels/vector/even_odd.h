// How an integer Linear on x86 unpacks weights: to even and odd nibbles or bytes, which is cheaper
// than their own order. Packing puts the rows into the same order.
#pragma once

#include "vector/math.h"

namespace stepguard::STEPGUARD_TABLE {
namespace {

struct Nothing {};

// What all kinds on x86 share: a sum of 32 bits a column, a word of a row for all columns.
struct Words {
  using Sum = Integers;
  using Shared = Nothing;  // between the rows

  static Sum start(int32_t sum) { return splat_integer(sum); }
  static void share(Shared&, Integers, int) {}
  static Integers row(uint32_t word) { return splat_integer(static_cast<int32_t>(word)); }
  static Integers total(Sum sum, Shared) { return sum; }
};

// int4 weights and rows of 8 bits: 4 k a step.
struct Nibbles {
  static constexpr int kSteps = 8;
  static constexpr int64_t kBlockBytes = kBlock * kPanel / 2;

  // The weights of step `step` for part p of the columns: nibbles 0, 2, 4, 6 of 8 k, then 1, 3, 5,
  // 7.
  static Integers unpack(const uint8_t* data, int step, int p) {
    return nibble_bytes(load_words(data + step / 2 * kPanel * 4 + p * kLanes * 4), step % 2 == 1);
  }
  // The words of 32 elements of a row; returns what they hold.
  static __m256i pack_bytes(const Integers* integers, uint32_t* words) {
    const __m256i order = _mm256_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15,  //
                                           0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15);
    const __m256i bytes = _mm256_shuffle_epi8(narrow_to_bytes(integers), order);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(words), bytes);
    return bytes;
  }
};

// int8 weights and rows of 16 bits: 2 k a step.
struct Bytes {
  static constexpr int kSteps = 16;
  static constexpr int64_t kBlockBytes = kBlock * kPanel;

  // Bytes 0 and 2 of 4 k as 16 bits, then 1 and 3.
  static Integers unpack(const uint8_t* data, int step, int p) {
    return byte_shorts(load_words(data + step / 2 * kPanel * 4 + p * kLanes * 4), step % 2 == 1);
  }
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
