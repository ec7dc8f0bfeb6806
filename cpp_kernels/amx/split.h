// Numbers as two bfloat16 each, in tiles: the nearest one, and what is left.
#pragma once

#include "amx/tiles.h"

namespace stepguard::amx {
namespace {

// 16 rows of 64 bytes each.
struct SplitTile {
  uint8_t high[kTileRows * 64];
  uint8_t low[kTileRows * 64];
};

// Two vectors of 16, cut to bfloat16: `even` in the low halves of a word.
[[maybe_unused]] inline Integers cut_pair(Vec even, Vec odd) {
  const Integers low = _mm512_srli_epi32(_mm512_castps_si512(even), 16);
  return _mm512_mask_mov_epi16(low, 0xAAAAAAAAU, _mm512_castps_si512(odd));
}

// The nearest bfloat16 number of each, ties away from zero; what is left is a float32, too.
[[maybe_unused]] inline Vec upper_half(Vec v) {
  const Integers bits = _mm512_add_epi32(_mm512_castps_si512(v), _mm512_set1_epi32(0x8000));
  return _mm512_castsi512_ps(_mm512_and_si512(bits, _mm512_set1_epi32(-65536)));
}

// 32 floats as row `row` of a tile of rows: 17 bits of each.
[[maybe_unused]] inline void split_floats(const float* x, int64_t row, SplitTile& to) {
  const Vec first = load(x), second = load(x + kLanes);
  const Vec first_high = upper_half(first), second_high = upper_half(second);
  const auto high = reinterpret_cast<Integers>(_mm512_cvtne2ps_pbh(second_high, first_high));
  const auto low = reinterpret_cast<Integers>(
      _mm512_cvtne2ps_pbh(sub(second, second_high), sub(first, first_high)));
  _mm512_storeu_si512(to.high + row * 64, high);
  _mm512_storeu_si512(to.low + row * 64, low);
}

// 16 columns of `count` (at most 32) rows of half floats as a tile of weights: exactly. Rows from
// `count` on are not read, and zero.
[[maybe_unused]] inline void split_halves(const uint16_t* x, int64_t stride, int64_t count,
                                          SplitTile& to) {
  for (int64_t pair = 0; pair < kTileRows; ++pair) {
    const uint16_t* from = x + 2 * pair * stride;
    const Vec even = 2 * pair < count ? load_half(from) : zeros();
    const Vec odd = 2 * pair + 1 < count ? load_half(from + stride) : zeros();
    const Vec even_high = upper_half(even), odd_high = upper_half(odd);
    _mm512_storeu_si512(to.high + pair * 64, cut_pair(even_high, odd_high));
    _mm512_storeu_si512(to.low + pair * 64, cut_pair(sub(even, even_high), sub(odd, odd_high)));
  }
}

}  // namespace
}  // namespace stepguard::amx
