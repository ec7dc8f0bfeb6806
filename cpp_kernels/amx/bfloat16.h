// Own: rows and weights as bfloat16 numbers, a whole slice of k in the tiles: no sums leave them
// before the slice ends, and one unpacked weight serves all rows.
//
// Rows are rounded to the nearest (ties to even). A weight is scale * value cut to 8 bits of the
// significand, which is one instruction less than rounding; bfloat16_scale makes up for what that
// takes off in the mean. The products of 32 along k are added as the instruction does it, the sums
// of the even and of the odd ones, and then to the sum so far: that is the only order there is.
#pragma once

#include "amx/split.h"
#include "bfloat16_rows.h"
#include "vector/linear_groups.h"

namespace stepguard::amx {
namespace {

constexpr int64_t kTileBytes = kTileRows * kBlock * 2;  // of 16 rows or columns, 32 along k
constexpr int64_t kSlice = 32;                          // blocks of weights in the first cache
constexpr int64_t kPanelsAtOnce = 2;                    // an even number: SwiGLU needs the pair
constexpr int64_t kGroupTiles = 36;                     // row tiles for which they are unpacked

int64_t row_tiles(int64_t rows) { return (rows + kTileRows - 1) / kTileRows; }

size_t bfloat16_bytes(const LinearInput& input) {
  const int64_t blocks = (input.k + kBlock - 1) / kBlock;
  return static_cast<size_t>(row_tiles(input.rows) * blocks * kTileBytes);
}

// Tile `tile` of the rows: [k/32][16][32]; rows that there are not are zero.
void pack_tile(const LinearInput& input, const float* x, int64_t tile, uint8_t* packed) {
  const int64_t blocks = (input.k + kBlock - 1) / kBlock;
  uint8_t* to = packed + tile * blocks * kTileBytes;
  const int64_t first = tile * kTileRows;
  const int64_t count = least(kTileRows, input.rows - first);
  for (int64_t r = 0; r < kTileRows; ++r) {
    for (int64_t b = 0; b < blocks; ++b) {
      Vec parts[2] = {zeros(), zeros()};
      for (int half = 0; half < 2 && r < count; ++half) {
        const int64_t left = input.k - b * kBlock - half * kLanes;
        const float* from = x + (first + r) * input.k + b * kBlock + half * kLanes;
        if (left > 0) parts[half] = load_part(from, left);
      }
      const auto rounded = reinterpret_cast<Integers>(_mm512_cvtne2ps_pbh(parts[1], parts[0]));
      _mm512_storeu_si512(to + b * kTileBytes + r * kBlock * 2, rounded);
    }
  }
}

void pack_bfloat16(const LinearInput& input, const float* x, int64_t begin, int64_t end,
                   uint8_t* packed) {
  for (int64_t tile = begin; tile < end; ++tile) pack_tile(input, x, tile, packed);
}

struct Int4Tiles {
  static constexpr int64_t kBlockBytes = kBlock * kPanel / 2;

  static void unpack(const uint8_t* data, Vec scale, uint8_t* to) {
    const Vec values = _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
    for (int64_t at = 0; at < kBlockBytes; at += kPanel * 4) {
      const Integers word = load_words(data + at);
#pragma GCC unroll 4
      for (unsigned r = 0; r < 4; ++r, to += 64) {
        const Integers even = _mm512_srli_epi32(word, 8 * r);  // bits above the fourth do not count
        const Integers odd = _mm512_srli_epi32(word, 8 * r + 4);
        _mm512_storeu_si512(to, cut_pair(mul(_mm512_permutexvar_ps(even, values), scale),
                                         mul(_mm512_permutexvar_ps(odd, values), scale)));
      }
    }
  }
};

struct Int8Tiles {
  static constexpr int64_t kBlockBytes = kBlock * kPanel;

  static void unpack(const uint8_t* data, Vec scale, uint8_t* to) {
    for (int64_t at = 0; at < kBlockBytes; at += kPanel * 4) {
      const Integers word = load_words(data + at);
#pragma GCC unroll 2
      for (int r = 0; r < 4; r += 2, to += 64) {
        _mm512_storeu_si512(to, cut_pair(mul(to_floats(signed_byte(word, r)), scale),
                                         mul(to_floats(signed_byte(word, r + 1)), scale)));
      }
    }
  }
};

// Blocks first.. of a panel, [count][16 pairs of k][16 columns][2].
template <class Kind>
void unpack_slice(const LinearWeight& w, int64_t panel, int64_t first, int64_t count, uint8_t* to) {
  constexpr int64_t kAhead = 4096;
  const int64_t block = panel * ((w.k + kBlock - 1) / kBlock) + first;
  const auto* data = static_cast<const uint8_t*>(w.data) + block * Kind::kBlockBytes;
  const uint16_t* scales = w.scales + block * kPanel;
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t line = 0; line < Kind::kBlockBytes; line += 64) prefetch(data + kAhead + line);
    Kind::unpack(data, mul(load_half(scales), splat(kBfloat16Centre)), to);
    data += Kind::kBlockBytes;
    scales += kPanel;
    to += kTileBytes;
  }
}

// One or two row tiles, `next_rows` bytes apart, and some blocks along k of one or two panels; sums
// of the first row tile and panel, and where those of the second panel lie.
struct Slice {
  const uint8_t* rows;
  int64_t next_rows;
  const uint8_t* weights;
  int64_t blocks;
  float* sums;
  int64_t next_sums;
};

// sums += rows . weights
template <int RowTiles, int Panels>
void multiply_slice(const Slice& slice) {
  constexpr int64_t kStride = kPanel * 4, kSumTile = kTileRows * kPanel;
  float* second = slice.sums + slice.next_sums;
  _tile_loadd(0, slice.sums, kStride);
  if constexpr (Panels == 2) _tile_loadd(1, second, kStride);
  if constexpr (RowTiles == 2) _tile_loadd(2, slice.sums + kSumTile, kStride);
  if constexpr (RowTiles == 2 && Panels == 2) _tile_loadd(3, second + kSumTile, kStride);
  const uint8_t* rows = slice.rows;
  const uint8_t* weights = slice.weights;
  for (int64_t i = 0; i < slice.blocks; ++i, rows += kTileBytes, weights += kTileBytes) {
    _tile_loadd(4, rows, 64);
    _tile_loadd(6, weights, 64);
    if constexpr (RowTiles == 2) _tile_loadd(5, rows + slice.next_rows, 64);
    if constexpr (Panels == 2) _tile_loadd(7, weights + kSlice * kTileBytes, 64);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (Panels == 2) _tile_dpbf16ps(1, 4, 7);
    if constexpr (RowTiles == 2) _tile_dpbf16ps(2, 5, 6);
    if constexpr (RowTiles == 2 && Panels == 2) _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, slice.sums, kStride);
  if constexpr (Panels == 2) _tile_stored(1, second, kStride);
  if constexpr (RowTiles == 2) _tile_stored(2, slice.sums + kSumTile, kStride);
  if constexpr (RowTiles == 2 && Panels == 2) _tile_stored(3, second + kSumTile, kStride);
}

// Row tiles begin.. of a call against one or two panels: sums [panels][tiles * 16][16].
template <class Kind, int Panels>
void multiply_panels(const LinearCall& call, int64_t panel, int64_t begin, int64_t tiles,
                     float* sums) {
  alignas(64) uint8_t weights[Panels * kSlice * kTileBytes];
  const int64_t blocks = (call.weight.k + kBlock - 1) / kBlock;
  const auto* packed = static_cast<const uint8_t*>(call.packed) + begin * blocks * kTileBytes;
  for (int64_t first = 0; first < blocks; first += kSlice) {
    const int64_t count = least(kSlice, blocks - first);
    for (int p = 0; p < Panels; ++p) {
      unpack_slice<Kind>(call.weight, panel + p, first, count, weights + p * kSlice * kTileBytes);
    }
    before_tile_loads();
    for (int64_t t = 0; t < tiles; t += 2) {
      const Slice slice{packed + (t * blocks + first) * kTileBytes,
                        blocks * kTileBytes,
                        weights,
                        count,
                        sums + t * kTileRows * kPanel,
                        tiles * kTileRows * kPanel};
      (t + 1 < tiles ? multiply_slice<2, Panels> : multiply_slice<1, Panels>)(slice);
    }
  }
}

// One or two panels of a unit range, for a group of row tiles.
template <class Kind>
void finish_bfloat16(const LinearCall& call, int64_t panel, int64_t panels, const Group& group) {
  const int64_t tiles = row_tiles(group.rows);
  const int64_t size = tiles * kTileRows * kPanel;
  for (int64_t i = 0; i < panels * size; i += kLanes) store(group.sums + i, zeros());
  before_tile_loads();
  (panels == 2 ? multiply_panels<Kind, 2>
               : multiply_panels<Kind, 1>)(call, panel, group.first / kTileRows, tiles, group.sums);
  if (call.epilogue == Epilogue::kSwiGlu) {
    return finish_pair(call, panel / 2, group, group.sums, group.sums + size);
  }
  for (int64_t p = 0; p < panels; ++p) finish_panel(call, panel + p, group, group.sums + p * size);
}

template <class Kind>
void linear_bfloat16(const LinearCall& call, int64_t unit_begin, int64_t unit_end) {
  alignas(64) float sums[kPanelsAtOnce * kGroupTiles * kTileRows * kPanel];
  const Tiles tiles(kTileRows, kBlock * 2);
  const int64_t width = call.epilogue == Epilogue::kSwiGlu ? 2 : 1;
  const int64_t last = unit_end * width;
  for (int64_t first = 0; first < call.rows; first += kGroupTiles * kTileRows) {
    const Group group(first, least(kGroupTiles * kTileRows, call.rows - first), sums);
    for (int64_t panel = unit_begin * width; panel < last; panel += kPanelsAtOnce) {
      finish_bfloat16<Kind>(call, panel, least(kPanelsAtOnce, last - panel), group);
    }
  }
}

}  // namespace
}  // namespace stepguard::amx
