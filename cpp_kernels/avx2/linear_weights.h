// Weights of a panel as float32, 8 columns at a time. scale * value is exact: a half scale has 11
// significant bits, a value at most 8.
#pragma once

#include "avx2/vec.h"

namespace stepguard::avx2 {
namespace {

// 8 columns of an int4 block: a word holds 8 k of a column as nibbles, value + 8.
struct Int4Columns {
  static constexpr int64_t kBlockBytes = kBlock * kPanel / 2;
  static constexpr int kWordRows = 8;
  __m256 scale, offset;

  explicit Int4Columns(__m256 s) : scale(s), offset(_mm256_mul_ps(s, _mm256_set1_ps(-8.0F))) {}
  __m256 row(__m256i word, int r) const {
    const __m256i nibble = _mm256_and_si256(_mm256_srli_epi32(word, 4 * r), _mm256_set1_epi32(15));
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(nibble), scale, offset);
  }
};

// The same of an int8 block: a word holds 4 k of a column as signed bytes.
struct Int8Columns {
  static constexpr int64_t kBlockBytes = kBlock * kPanel;
  static constexpr int kWordRows = 4;
  __m256 scale;

  explicit Int8Columns(__m256 s) : scale(s) {}
  __m256 row(__m256i word, int r) const {
    const __m256i value = _mm256_srai_epi32(_mm256_slli_epi32(word, 24 - 8 * r), 24);
    return _mm256_mul_ps(_mm256_cvtepi32_ps(value), scale);
  }
};

// Where block k/32 of a panel lies.
template <class Columns>
struct Block {
  static constexpr int kWords = kBlock / Columns::kWordRows;
  static constexpr int64_t kAhead = 1024;
  const uint8_t* data;
  const uint16_t* scales;

  Block(const LinearWeight& w, int64_t panel, int64_t k) {
    const int64_t block = panel * ((w.k + kBlock - 1) / kBlock) + k / kBlock;
    data = static_cast<const uint8_t*>(w.data) + block * Columns::kBlockBytes;
    scales = w.scales + block * kPanel;
  }
  Columns columns(int half) const { return Columns(load_half(scales + half * kLanes)); }
  __m256i word(int index, int half) const {
    const uint8_t* at = data + index * kPanel * 4 + half * kLanes * 4;
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
  }
  // Asks for a block a few steps ahead: slices of several panels are too short a run for the CPU
  // to notice. Past the end of the weights nothing happens.
  void prefetch() const {
    const auto* ahead = reinterpret_cast<const char*>(data) + kAhead;
    for (int64_t i = 0; i < Columns::kBlockBytes; i += 64) _mm_prefetch(ahead + i, _MM_HINT_T0);
    const int64_t blocks = kAhead / Columns::kBlockBytes;
    _mm_prefetch(reinterpret_cast<const char*>(scales + blocks * kPanel), _MM_HINT_T0);
  }
};

// Rows k..k+count of a panel to out [count rounded up to 32][16], 32-byte aligned; k is a multiple
// of 32.
template <class Columns>
void decode_panel(const LinearWeight& w, int64_t panel, int64_t k, int64_t count, float* out) {
  for (int64_t i = 0; i < count; i += kBlock) {
    const Block<Columns> block(w, panel, k + i);
    block.prefetch();
    const Columns low = block.columns(0);
    const Columns high = block.columns(1);
    for (int index = 0; index < block.kWords; ++index) {
      const __m256i low_word = block.word(index, 0);
      const __m256i high_word = block.word(index, 1);
#pragma GCC unroll 8
      for (int r = 0; r < Columns::kWordRows; ++r, out += kPanel) {
        _mm256_store_ps(out, low.row(low_word, r));
        _mm256_store_ps(out + kLanes, high.row(high_word, r));
      }
    }
  }
}

// One row of x and two panels, straight from the packed weights: sums [2][16] += x . w for the
// first `count` k, a multiple of 32. The operations per column are those of a decoded slice.
template <class Columns>
void multiply_row(const LinearWeight& w, int64_t panel, const float* x, int64_t count,
                  float* sums) {
  __m256 acc[4];
#pragma GCC unroll 4
  for (int h = 0; h < 4; ++h) acc[h] = _mm256_loadu_ps(sums + h * kLanes);
  for (int64_t k = 0; k < count; k += kBlock) {
    const Block<Columns> first(w, panel, k);
    const Block<Columns> second(w, panel + 1, k);
    first.prefetch();
    second.prefetch();
    const Columns columns[4] = {first.columns(0), first.columns(1), second.columns(0),
                                second.columns(1)};
    for (int index = 0; index < first.kWords; ++index) {
      const __m256i words[4] = {first.word(index, 0), first.word(index, 1), second.word(index, 0),
                                second.word(index, 1)};
#pragma GCC unroll 8
      for (int r = 0; r < Columns::kWordRows; ++r) {
        const __m256 value = _mm256_broadcast_ss(x + k + index * Columns::kWordRows + r);
#pragma GCC unroll 4
        for (int h = 0; h < 4; ++h) {
          acc[h] = _mm256_fmadd_ps(value, columns[h].row(words[h], r), acc[h]);
        }
      }
    }
  }
#pragma GCC unroll 4
  for (int h = 0; h < 4; ++h) _mm256_storeu_ps(sums + h * kLanes, acc[h]);
}

}  // namespace
}  // namespace stepguard::avx2
