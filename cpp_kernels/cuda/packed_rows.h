// Rows that were rounded to integers (integer_rows.h), as the integer kernels of Linear read them:
//   words  [rows][blocks][planes][8] u32, four bytes of a plane each
//   scales [rows][blocks] float32
// Beside int4 weights there is one plane of signed bytes; its words hold the even elements of every
// eight (words 0 to 3), then the odd ones (4 to 7), as the nibbles of a word of weights fall.
// Beside int8 weights a 16-bit integer is 256 high + low: a plane of signed high bytes, then one of
// unsigned low bytes, in the order of k.
#pragma once

#include "device.h"

namespace stepguard::cuda {

constexpr int kWords = kBlock / 4;

struct PackedRows {
  uint32_t* words;
  float* scales;
  int64_t blocks;
  int planes;

  SG_MEMBER uint32_t* block(int64_t row, int64_t block) const {
    return words + (row * blocks + block) * planes * kWords;
  }
  SG_MEMBER float& scale(int64_t row, int64_t block) const { return scales[row * blocks + block]; }
};

SG_BOTH PackedRows packed_rows(WeightFormat format, int64_t rows, int64_t k, void* memory) {
  const int64_t blocks = (k + kBlock - 1) / kBlock;
  const int planes = format == WeightFormat::kInt4 ? 1 : 2;
  auto* words = static_cast<uint32_t*>(memory);
  auto* scales = reinterpret_cast<float*>(words + rows * blocks * planes * kWords);
  return {words, scales, blocks, planes};
}

// Four int4 weights, the even or odd nibbles of a word shifted into place, as signed bytes.
SG_DEVICE uint32_t nibbles_to_bytes(uint32_t word) {
  return (((word & 0x0F0F0F0FU) | 0x80808080U) - 0x08080808U) ^ 0x80808080U;
}

}  // namespace stepguard::cuda
