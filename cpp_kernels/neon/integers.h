// Integers of 4 columns, and the steps of an integer Linear with the dot product of bytes, which
// adds four products to a sum of 32 bits.
#pragma once

#include "neon/vec.h"
#include "vector/math.h"

namespace stepguard::neon {
namespace {

// A 32-bit word of packed weights of each column.
[[maybe_unused]] inline Integers load_words(const uint8_t* from) {
  return vreinterpretq_s32_u8(vld1q_u8(from));
}
// Nibble r of each word; byte r of each, with its sign.
[[maybe_unused]] inline Integers nibble(Integers words, int r) {
  const uint32x4_t shifted = vshlq_u32(vreinterpretq_u32_s32(words), vdupq_n_s32(-4 * r));
  return vreinterpretq_s32_u32(vandq_u32(shifted, vdupq_n_u32(15)));
}
[[maybe_unused]] inline Integers signed_byte(Integers words, int r) {
  return vshrq_n_s32(vshlq_s32(words, vdupq_n_s32(24 - 8 * r)), 24);
}

// The bits of the largest magnitude of up to 32 elements; as integers NaN and Inf are larger than
// numbers.
[[maybe_unused]] inline uint32_t largest_magnitude(const float* x, int64_t count) {
  uint32x4_t most = vdupq_n_u32(0);
  for (int64_t i = 0; i < count; i += kLanes) {
    const uint32x4_t part = vreinterpretq_u32_f32(load_part(x + i, count - i));
    most = vmaxq_u32(most, vandq_u32(part, vdupq_n_u32(0x7FFFFFFF)));
  }
  return vmaxvq_u32(most);
}

// A word of a row in every lane.
[[maybe_unused]] inline int8x16_t every_lane(uint32_t word) {
  return vreinterpretq_s8_u32(vdupq_n_u32(word));
}

[[maybe_unused]] inline uint32_t word_of(int a, int b, int c, int d) {
  return static_cast<uint32_t>(a & 255) | static_cast<uint32_t>(b & 255) << 8 |
         static_cast<uint32_t>(c & 255) << 16 | static_cast<uint32_t>(d & 255) << 24;
}

// int4 times 8 bits.
struct Int4 {
  static constexpr bool kUnpacksOnce = false;
  static constexpr int kSteps = 8;
  static constexpr int64_t kBlockBytes = kBlock * kPanel / 2;
  using Sum = Integers;
  using Shared = int32_t;  // between the rows: nothing

  static Sum start(int32_t) { return vdupq_n_s32(0); }
  static void share(Shared&, Integers, int) {}
  // The weights of step `step` for part p of the columns: nibbles 0, 2, 4, 6 of 8 k, then 1, 3, 5,
  // 7. They are stored + 8.
  static Integers unpack(const uint8_t* data, int step, int p) {
    const uint8x16_t words = vld1q_u8(data + step / 2 * kPanel * 4 + p * kLanes * 4);
    const uint8x16_t low = vandq_u8(words, vdupq_n_u8(15));
    const uint8x16_t nibbles = step % 2 == 1 ? vshrq_n_u8(words, 4) : low;
    return vreinterpretq_s32_s8(vsubq_s8(vreinterpretq_s8_u8(nibbles), vdupq_n_s8(8)));
  }
  static int8x16_t row(uint32_t word) { return every_lane(word); }
  static void multiply(Sum& sum, Integers w, int8x16_t x, int) {
    sum = vdotq_s32(sum, vreinterpretq_s8_s32(w), x);
  }
  static Integers total(Sum sum, Shared) { return sum; }

  static int32_t pack(const Integers* integers, uint32_t* words) {
    int32_t n[kBlock];
    for (int i = 0; i < kBlock / kLanes; ++i) vst1q_s32(n + i * kLanes, integers[i]);
    for (int step = 0; step < kSteps; ++step) {
      const int32_t* from = n + step / 2 * 8 + step % 2;
      words[step] = word_of(from[0], from[2], from[4], from[6]);
    }
    return 0;
  }
};

// int8 times 16 bits, which are 256 high + 128 + low with bytes of their own sign. A step is 4 k of
// the high or of the low bytes. 128 sum(w) is the same for all rows.
struct Int8 {
  static constexpr bool kUnpacksOnce = false;
  static constexpr int kSteps = 16;
  static constexpr int64_t kBlockBytes = kBlock * kPanel;
  struct Sum {
    Integers high, low;
  };
  using Shared = Integers;  // sum(w)

  static Sum start(int32_t) { return {vdupq_n_s32(0), vdupq_n_s32(0)}; }
  static void share(Shared& sum, Integers w, int step) {
    if (step % 2 == 0) sum = vdotq_s32(sum, vreinterpretq_s8_s32(w), vdupq_n_s8(1));
  }
  static Integers unpack(const uint8_t* data, int step, int p) {
    return load_words(data + step / 2 * kPanel * 4 + p * kLanes * 4);
  }
  static int8x16_t row(uint32_t word) { return every_lane(word); }
  static void multiply(Sum& sum, Integers w, int8x16_t x, int step) {
    Integers& part = step % 2 == 0 ? sum.high : sum.low;
    part = vdotq_s32(part, vreinterpretq_s8_s32(w), x);
  }
  static Integers total(Sum sum, Shared weights) {
    const Integers high = vaddq_s32(vshlq_n_s32(sum.high, 8), sum.low);
    return vaddq_s32(high, vshlq_n_s32(weights, 7));
  }

  static int32_t pack(const Integers* integers, uint32_t* words) {
    int32_t n[kBlock];
    for (int i = 0; i < kBlock / kLanes; ++i) vst1q_s32(n + i * kLanes, integers[i]);
    for (int step = 0; step < kSteps; step += 2) {
      const int32_t* from = n + step * 2;
      words[step] = word_of(from[0] >> 8, from[1] >> 8, from[2] >> 8, from[3] >> 8);
      words[step + 1] = word_of(from[0] - 128, from[1] - 128, from[2] - 128, from[3] - 128);
    }
    return 0;
  }
};

}  // namespace
}  // namespace stepguard::neon
