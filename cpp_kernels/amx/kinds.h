// What tiles multiply. A Kind says how 32 elements of a row become parts that are each a row of a
// tile, how a block of weights becomes a tile, and which products give the sums. Blocks along k
// have a side in turn, 0 or 1, with tiles of its own: the products of one need not wait for the
// other's.
#pragma once

#include <cstring>

#include "amx/tiles.h"
#include "vector/round.h"

namespace stepguard::amx {
namespace {

// Sums of up to 16 rows and 16 columns as a tile gives them, 64-byte aligned.
using Sums = int32_t[kTileRows * kPanel];

// A block: where the parts of its rows lie (`part` bytes one after the other), its weights, and
// room for the sums of its parts.
struct Block {
  const uint8_t* rows;
  int64_t part;
  const uint8_t* weights;
  Sums* sums;
};

// Rows of 8 bits and int4 weights, in the order in which nibbles are unpacked.
struct Int4Rows {
  static constexpr int kParts = 1;
  static constexpr int64_t kBytes = kBlock;  // of a part
  static constexpr int64_t kWeightBytes = kBlock * kPanel;

  static const uint8_t* weights(const LinearWeight& w, int64_t block, uint8_t* buffer) {
    const auto* data = static_cast<const uint8_t*>(w.data) + block * kBlock * kPanel / 2;
    for (int step = 0; step < 8; ++step) {
      const Integers nibbles = Int4::unpack(data, step, 0);
      _mm512_storeu_si512(buffer + step * 64, _mm512_sub_epi8(nibbles, _mm512_set1_epi8(8)));
    }
    return buffer;
  }
  static float pack(const float* x, int64_t count, int64_t, uint8_t* to) {
    const IntegerScale scale =
        integer_scale(largest_magnitude(x, count), integer_levels(WeightFormat::kInt4));
    Integers integers[2];
    round_elements(x, count, scale.inverse, integers);
    uint32_t words[8];
    Int4::pack(integers, words);
    std::memcpy(to, words, sizeof words);
    return scale.scale;
  }
  // The numbers of tiles are part of an instruction.
  static void multiply_0(const Block& block) {
    _tile_zero(0);
    _tile_loadd(6, block.weights, 64);
    _tile_loadd(4, block.rows, kBytes);
    _tile_dpbssd(0, 4, 6);
    _tile_stored(0, block.sums[0], 64);
  }
  static void multiply_1(const Block& block) {
    _tile_zero(1);
    _tile_loadd(7, block.weights, 64);
    _tile_loadd(5, block.rows, kBytes);
    _tile_dpbssd(1, 5, 7);
    _tile_stored(1, block.sums[0], 64);
  }
  // The sums of row r.
  static Vec total(const Sums* sums, int r) {
    return to_floats(_mm512_load_si512(sums[0] + r * kPanel));
  }
};

// Rows of 16 bits, 256 high + low, and int8 weights, which lie in the model as a tile.
struct Int8Rows {
  static constexpr int kParts = 2;
  static constexpr int64_t kBytes = kBlock;
  static constexpr int64_t kWeightBytes = 0;

  static const uint8_t* weights(const LinearWeight& w, int64_t block, uint8_t*) {
    return static_cast<const uint8_t*>(w.data) + block * kBlock * kPanel;
  }
  static float pack(const float* x, int64_t count, int64_t part, uint8_t* to) {
    const IntegerScale scale =
        integer_scale(largest_magnitude(x, count), integer_levels(WeightFormat::kInt8));
    Integers integers[2];
    round_elements(x, count, scale.inverse, integers);
    for (int half = 0; half < 2; ++half) {
      const Integers high = _mm512_srai_epi32(integers[half], 8);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to) + half, _mm512_cvtepi32_epi8(high));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + part) + half,
                       _mm512_cvtepi32_epi8(integers[half]));
    }
    return scale.scale;
  }
  static void multiply_0(const Block& block) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_loadd(6, block.weights, 64);
    _tile_loadd(4, block.rows, kBytes);
    _tile_dpbssd(0, 4, 6);
    _tile_loadd(5, block.rows + block.part, kBytes);
    _tile_dpbusd(1, 5, 6);
    _tile_stored(0, block.sums[0], 64);
    _tile_stored(1, block.sums[1], 64);
  }
  static void multiply_1(const Block& block) {
    _tile_zero(2);
    _tile_zero(3);
    _tile_loadd(7, block.weights, 64);
    _tile_loadd(4, block.rows, kBytes);
    _tile_dpbssd(2, 4, 7);
    _tile_loadd(5, block.rows + block.part, kBytes);
    _tile_dpbusd(3, 5, 7);
    _tile_stored(2, block.sums[0], 64);
    _tile_stored(3, block.sums[1], 64);
  }
  static Vec total(const Sums* sums, int r) {
    const Integers high = _mm512_load_si512(sums[0] + r * kPanel);
    const Integers low = _mm512_load_si512(sums[1] + r * kPanel);
    return to_floats(_mm512_add_epi32(_mm512_slli_epi32(high, 8), low));
  }
};

// Float32 rows as three bfloat16 numbers each, which add up to the element exactly, and weights
// without their scale, which are bfloat16 numbers exactly: what is rounded are the sums of a block,
// in float32. An element above 2^120 may give Inf where scaled weights would not.
template <class Columns>
struct FloatRows {
  static constexpr int kParts = 3;
  static constexpr int64_t kBytes = kBlock * 2;
  static constexpr int64_t kWeightBytes = kBlock * kPanel * 2;

  static const uint8_t* weights(const LinearWeight& w, int64_t block, uint8_t* buffer) {
    const auto* data = static_cast<const uint8_t*>(w.data) + block * Columns::kBlockBytes;
    uint8_t* to = buffer;
    for (int64_t at = 0; at < Columns::kBlockBytes; at += kPanel * 4) {
      const Integers word = load_words(data + at);
#pragma GCC unroll 4
      for (int r = 0; r < Columns::kWordRows; r += 2, to += 64) {
        const Integers first = _mm512_castps_si512(Columns::weight(word, r));
        const Integers second = _mm512_castps_si512(Columns::weight(word, r + 1));
        const Integers upper = _mm512_and_si512(second, _mm512_set1_epi32(-65536));
        _mm512_storeu_si512(to, _mm512_or_si512(upper, _mm512_srli_epi32(first, 16)));
      }
    }
    return buffer;
  }
  static float pack(const float* x, int64_t count, int64_t part, uint8_t* to) {
    for (int half = 0; half < 2; ++half) {
      const int64_t some = part_of(count, half);
      Vec rest = some == 0 ? zeros() : load_part(x + half * kLanes, some);
      for (int p = 0; p < kParts; ++p) {  // 8 bits of the significand each
        const Integers bits = _mm512_castps_si512(rest);
        const Integers upper = _mm512_and_si512(bits, _mm512_set1_epi32(-65536));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + p * part) + half,
                            _mm512_cvtepi32_epi16(_mm512_srli_epi32(bits, 16)));
        rest = sub(rest, _mm512_castsi512_ps(upper));
      }
    }
    return 1.0F;
  }
  // The smallest parts first.
  static void multiply_0(const Block& block) {
    _tile_zero(0);
    _tile_loadd(6, block.weights, 64);
    _tile_loadd(4, block.rows + 2 * block.part, kBytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(4, block.rows + block.part, kBytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(4, block.rows, kBytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_stored(0, block.sums[0], 64);
  }
  static void multiply_1(const Block& block) {
    _tile_zero(1);
    _tile_loadd(7, block.weights, 64);
    _tile_loadd(5, block.rows + 2 * block.part, kBytes);
    _tile_dpbf16ps(1, 5, 7);
    _tile_loadd(5, block.rows + block.part, kBytes);
    _tile_dpbf16ps(1, 5, 7);
    _tile_loadd(5, block.rows, kBytes);
    _tile_dpbf16ps(1, 5, 7);
    _tile_stored(1, block.sums[0], 64);
  }
  static Vec total(const Sums* sums, int r) {
    return _mm512_castsi512_ps(_mm512_load_si512(sums[0] + r * kPanel));
  }
};

struct Int4Weights {
  static constexpr int64_t kBlockBytes = kBlock * kPanel / 2;
  static constexpr int kWordRows = 8;
  static Vec weight(Integers word, int r) {
    return to_floats(_mm512_sub_epi32(nibble(word, r), _mm512_set1_epi32(8)));
  }
};

struct Int8Weights {
  static constexpr int64_t kBlockBytes = kBlock * kPanel;
  static constexpr int kWordRows = 4;
  static Vec weight(Integers word, int r) { return to_floats(signed_byte(word, r)); }
};

}  // namespace
}  // namespace stepguard::amx
