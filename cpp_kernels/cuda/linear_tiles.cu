// Linear with integer rows on tensor cores: int4 weights become bytes in registers, int8 weights
// are bytes, and a tile multiplies 16 rows x 32 k with 32 k x 8 columns into exact integer sums.
// One instruction sequence and one order along k for any number of rows; the same bits as
// linear_integer.cu, since a block of 32 along k is one integer sum in both.
//
// A warp has one unit of columns and up to kRowTiles tiles of 16 rows, for which weights are loaded
// and unpacked once.
#include "linear.h"
#include "packed_rows.h"
#include "tiles.h"

namespace stepguard::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
constexpr int kHalves = kPanel / kTileColumns;  // tiles of columns in a panel

// The bytes of 8 columns of a panel in one block along k, those of this lane.
struct Int4Tiles {
  static constexpr int kPlanes = 1;
  SG_DEVICE TileB load(const LinearWeight& weight, const Column& column, int64_t block, int quad) {
    const uint32_t bits = weight_word(weight, column, block, quad);
    return {{nibbles_to_bytes(bits), nibbles_to_bytes(bits >> 4)}};
  }
};

struct Int8Tiles {
  static constexpr int kPlanes = 2;
  SG_DEVICE TileB load(const LinearWeight& weight, const Column& column, int64_t block, int quad) {
    return {{weight_word(weight, column, block, quad),
             weight_word(weight, column, block, quad + kWords / 2)}};
  }
};

// The words of 16 rows of one plane that this lane holds; rows from `end` on are zero.
SG_DEVICE TileA load_rows(const PackedRows& x, int64_t row, int64_t end, int64_t block, int plane,
                          int quad) {
  TileA tile = {};
  SG_UNROLL
  for (int i = 0; i < 2; ++i) {
    if (row + 8 * i >= end) continue;
    const uint32_t* words = x.block(row + 8 * i, block) + plane * kWords;
    tile.of[i] = words[quad];
    tile.of[i + 2] = words[quad + kWords / 2];
  }
  return tile;
}

// Where a warp works.
struct WarpPlace {
  int64_t unit, first_row;
  bool there;  // units may end before the warps of a block do
};

template <int Panels, int RowTiles>
struct TileSums {
  float of[RowTiles][Panels][kHalves][4];
};

// sums += scale of the row * scale of the column * total.
SG_DEVICE void add_tile(const LinearWeight& weight, const PackedRows& x, const Column& column,
                        int64_t block, const TileC& totals, float* sums) {
  SG_UNROLL
  for (int i = 0; i < 4; ++i) {
    const int64_t row = column.row + 8 * (i / 2);
    if (row >= column.row + column.rows) continue;
    const Column one{column.panel, column.lane + i % 2, row, 1};
    const float product = x.scale(row, block) * weight_scale(weight, one, block);
    sums[i] = fmaf(product, static_cast<float>(totals.of[i]), sums[i]);
  }
}

template <class Format, int Panels, int RowTiles>
SG_KERNEL multiply_tiles(LinearCall call, int64_t unit_begin, int64_t unit_end) {
  constexpr int kRows = RowTiles * kTileRows;
  const PackedRows x =
      packed_rows(call.weight.format, call.rows, call.weight.k, const_cast<void*>(call.packed));
  const int64_t columns = (unit_end - unit_begin + kWarps - 1) / kWarps;
  const int64_t first_row = block_index() / columns * kRows;
  const int64_t first_unit = unit_begin + block_index() % columns * kWarps;
  const int64_t left = call.rows - first_row;
  const int tiles = static_cast<int>(left < kRows ? (left + kTileRows - 1) / kTileRows : RowTiles);
  PerThread<TileSums<Panels, RowTiles>> sums;
  SG_LANES(t) { sums[t] = {}; }
  for (int64_t block = 0; block < x.blocks; ++block) {
    PerThread<TileB> b[Panels][kHalves];
    SG_LANES(t) {
      const int64_t unit = first_unit + t / kWarp;
      SG_UNROLL
      for (int p = 0; p < Panels * kHalves; ++p) {
        const Column column{unit * Panels + p / kHalves, p % kHalves * kTileColumns + t % kWarp / 4,
                            0, 0};
        b[p / kHalves][p % kHalves][t] =
            unit < unit_end ? Format::load(call.weight, column, block, t % 4) : TileB{};
      }
    }
    SG_UNROLL
    for (int r = 0; r < RowTiles; ++r) {
      if (r >= tiles) continue;
      PerThread<TileA> a[Format::kPlanes];
      PerThread<TileC> totals[Panels][kHalves];
      SG_LANES(t) {
        const int64_t row = first_row + r * kTileRows + t % kWarp / 4;
        SG_UNROLL
        for (int plane = 0; plane < Format::kPlanes; ++plane) {
          a[plane][t] = load_rows(x, row, call.rows, block, plane, t % 4);
        }
        SG_UNROLL
        for (int p = 0; p < Panels * kHalves; ++p) totals[p / kHalves][p % kHalves][t] = {};
      }
      SG_UNROLL
      for (int p = 0; p < Panels * kHalves; ++p) {
        PerThread<TileC>& total = totals[p / kHalves][p % kHalves];
        multiply_signed(a[0], b[p / kHalves][p % kHalves], total);
        if constexpr (Format::kPlanes == 2) {
          SG_LANES(t) {  // high bytes count 256 times
            SG_UNROLL
            for (int i = 0; i < 4; ++i) total[t].of[i] *= 256;
          }
          multiply_unsigned(a[1], b[p / kHalves][p % kHalves], total);
        }
      }
      SG_LANES(t) {
        const int64_t unit = first_unit + t / kWarp;
        if (unit >= unit_end) continue;
        const int64_t row = first_row + r * kTileRows + t % kWarp / 4;
        const int64_t rows = call.rows - row;
        SG_UNROLL
        for (int p = 0; p < Panels * kHalves; ++p) {
          const Column column{unit * Panels + p / kHalves, p % kHalves * kTileColumns + t % 4 * 2,
                              row, static_cast<int>(rows < kTileRows ? rows : kTileRows)};
          add_tile(call.weight, x, column, block, totals[p / kHalves][p % kHalves][t],
                   sums[t].of[r][p / kHalves][p % kHalves]);
        }
      }
    }
  }
  SG_LANES(t) {
    const int64_t unit = first_unit + t / kWarp;
    if (unit >= unit_end) continue;
    SG_UNROLL
    for (int i = 0; i < RowTiles * kHalves * 4; ++i) {
      const int r = i / (kHalves * 4), h = i / 4 % kHalves, c = i % 4;
      const int64_t row = first_row + r * kTileRows + t % kWarp / 4 + 8 * (c / 2);
      if (row >= call.rows) continue;
      const int64_t column = unit * kPanel + h * kTileColumns + t % 4 * 2 + c % 2;
      finish(call, row, column, sums[t].of[r][0][h][c], sums[t].of[r][Panels - 1][h][c]);
    }
  }
}

template <class Format, int Panels, int RowTiles>
Problem launch_tiles(Stream stream, const LinearCall& call, int64_t unit_begin, int64_t unit_end) {
  const int64_t columns = (unit_end - unit_begin + kWarps - 1) / kWarps;
  const int64_t rows = (call.rows + RowTiles * kTileRows - 1) / (RowTiles * kTileRows);
  return launch(multiply_tiles<Format, Panels, RowTiles>, columns * rows, kThreads, stream, call,
                unit_begin, unit_end);
}

}  // namespace

Problem linear_tiles(Stream stream, const LinearCall& call, int64_t unit_begin, int64_t unit_end) {
  const bool pair = call.epilogue == Epilogue::kSwiGlu;
  if (call.weight.format == WeightFormat::kInt4) {
    return (pair ? launch_tiles<Int4Tiles, 2, 2>
                 : launch_tiles<Int4Tiles, 1, 4>)(stream, call, unit_begin, unit_end);
  }
  return (pair ? launch_tiles<Int8Tiles, 2, 2>
               : launch_tiles<Int8Tiles, 1, 4>)(stream, call, unit_begin, unit_end);
}

}  // namespace stepguard::cuda
