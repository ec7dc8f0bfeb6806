// The tile product of tensor cores on bytes, c [16][8] += a [16][32] b [32][8], in exact integers.
// The 32 threads of a warp hold the tiles; in words of four bytes along k, lane = 4 g + q has
//   a: rows g and g + 8 of words q, then the same rows of words q + 4
//   b: column g of words q and q + 4
//   c: row g of columns 2q and 2q + 1, then row g + 8 of the same
#pragma once

#include "shim.h"

namespace stepguard::cuda {

constexpr int kTileRows = 16, kTileColumns = 8;

struct TileA {
  uint32_t of[4];
};
struct TileB {
  uint32_t of[2];
};
struct TileC {
  int32_t of[4];
};

#ifdef __CUDACC__

#define SG_TILE_16(kind)                                                               \
  asm volatile("mma.sync.aligned.m16n8k32.row.col.s32." kind                           \
               ".s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"         \
               : "+r"(c.of[0]), "+r"(c.of[1]), "+r"(c.of[2]), "+r"(c.of[3])            \
               : "r"(a.of[0]), "r"(a.of[1]), "r"(a.of[2]), "r"(a.of[3]), "r"(b.of[0]), \
                 "r"(b.of[1]))
// Turing's tiles are 8 rows x 16 k: a quarter of it each.
#define SG_TILE_8(kind, rows, word)                             \
  asm volatile("mma.sync.aligned.m8n8k16.row.col.s32." kind     \
               ".s8.s32 {%0,%1}, {%2}, {%3}, {%0,%1};"          \
               : "+r"(c.of[2 * rows]), "+r"(c.of[2 * rows + 1]) \
               : "r"(a.of[rows + 2 * word]), "r"(b.of[word]))
#if __CUDA_ARCH__ >= 800
#define SG_TILE(kind) SG_TILE_16(kind)
#else
#define SG_TILE(kind)    \
  SG_TILE_8(kind, 0, 0); \
  SG_TILE_8(kind, 0, 1); \
  SG_TILE_8(kind, 1, 0); \
  SG_TILE_8(kind, 1, 1)
#endif

SG_DEVICE void multiply_signed(PerThread<TileA>& tile_a, PerThread<TileB>& tile_b,
                               PerThread<TileC>& tile_c) {
  const TileA& a = tile_a.value;
  const TileB& b = tile_b.value;
  TileC& c = tile_c.value;
  SG_TILE("s8");
}
SG_DEVICE void multiply_unsigned(PerThread<TileA>& tile_a, PerThread<TileB>& tile_b,
                                 PerThread<TileC>& tile_c) {
  const TileA& a = tile_a.value;
  const TileB& b = tile_b.value;
  TileC& c = tile_c.value;
  SG_TILE("u8");
}

#undef SG_TILE
#undef SG_TILE_8
#undef SG_TILE_16

#else

using DotWords = int32_t (*)(uint32_t, uint32_t, int32_t);

// Word w of a row of a, of a column of b: in the registers of some lane of the warp.
SG_DEVICE uint32_t row_word(PerThread<TileA>& a, int warp, int row, int word) {
  return a[warp * kWarp + row % 8 * 4 + word % 4].of[row / 8 + word / 4 * 2];
}
SG_DEVICE uint32_t column_word(PerThread<TileB>& b, int warp, int column, int word) {
  return b[warp * kWarp + column * 4 + word % 4].of[word / 4];
}

SG_DEVICE void multiply_warps(PerThread<TileA>& a, PerThread<TileB>& b, PerThread<TileC>& c,
                              DotWords dot) {
  for (int warp = 0; warp < emulated.threads / kWarp; ++warp) {
    for (int row = 0; row < kTileRows; ++row) {
      for (int column = 0; column < kTileColumns; ++column) {
        int32_t& sum = c[warp * kWarp + row % 8 * 4 + column / 2].of[row / 8 * 2 + column % 2];
        for (int word = 0; word < 8; ++word) {
          sum = dot(row_word(a, warp, row, word), column_word(b, warp, column, word), sum);
        }
      }
    }
  }
}
SG_DEVICE void multiply_signed(PerThread<TileA>& a, PerThread<TileB>& b, PerThread<TileC>& c) {
  multiply_warps(a, b, c, dot_bytes);
}
SG_DEVICE void multiply_unsigned(PerThread<TileA>& a, PerThread<TileB>& b, PerThread<TileC>& c) {
  multiply_warps(a, b, c, dot_unsigned);
}

#endif

}  // namespace stepguard::cuda
