// The instructions of AMX in plain loops, after the operation sections of Intel's manual, included
// before the files that use them. What would be an invalid instruction ends the test.
#pragma once

#include <cstdio>
#include <cstdlib>

#include "avx512.h"

namespace stepguard_emulation {
namespace {

struct Tile {
  int rows, bytes;  // of a row
  uint8_t data[16][64];
};

struct TileUnit {
  bool configured;
  Tile tiles[8];
};

TileUnit& tile_unit() {
  static thread_local TileUnit unit;
  return unit;
}

void tile_check(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "invalid tile instruction: %s\n", what);
  std::abort();
}

Tile& tile(int number) {
  tile_check(tile_unit().configured, "no shapes");
  Tile& found = tile_unit().tiles[number];
  tile_check(found.rows > 0 && found.bytes > 0, "a tile without a shape");
  return found;
}

void tile_configure(const void* memory) {
  const auto* config = static_cast<const uint8_t*>(memory);
  tile_check(config[0] == 1 && config[1] == 0, "palette");
  for (int i = 2; i < 16; ++i) tile_check(config[i] == 0, "reserved bytes");
  tile_unit() = TileUnit{};
  tile_unit().configured = true;
  for (int i = 0; i < 8; ++i) {
    const int bytes = config[16 + 2 * i] | config[17 + 2 * i] << 8;
    const int rows = config[48 + i];
    tile_check(bytes <= 64 && rows <= 16 && (bytes == 0) == (rows == 0), "shape");
    tile_unit().tiles[i].bytes = bytes;
    tile_unit().tiles[i].rows = rows;
  }
}

[[maybe_unused]] void tile_release() { tile_unit() = TileUnit{}; }

[[maybe_unused]] void tile_zero(int number) {
  std::memset(tile(number).data, 0, sizeof(Tile::data));
}

[[maybe_unused]] void tile_load(int number, const void* from, int64_t stride) {
  Tile& to = tile(number);
  std::memset(to.data, 0, sizeof to.data);
  for (int r = 0; r < to.rows; ++r) {
    std::memcpy(to.data[r], static_cast<const uint8_t*>(from) + r * stride,
                static_cast<size_t>(to.bytes));
  }
}

[[maybe_unused]] void tile_store(int number, void* to, int64_t stride) {
  const Tile& from = tile(number);
  for (int r = 0; r < from.rows; ++r) {
    std::memcpy(static_cast<uint8_t*>(to) + r * stride, from.data[r],
                static_cast<size_t>(from.bytes));
  }
}

// Shapes of sums, rows and weights that a product takes.
void check_shapes(const Tile& sums, const Tile& a, const Tile& b) {
  tile_check(sums.rows == a.rows && sums.bytes == b.bytes && a.bytes == 4 * b.rows, "shapes");
  tile_check(&sums != &a && &sums != &b && &a != &b, "one tile twice");
}

template <class Number>
Number number_at(const Tile& tile, int row, int place) {
  Number number;
  std::memcpy(&number, tile.data[row] + place * sizeof number, sizeof number);
  return number;
}

// Sums of the products of four bytes, modulo 2^32.
template <class A, class B>
void tile_bytes(int to, int rows, int weights) {
  Tile& sums = tile(to);
  const Tile& a = tile(rows);
  const Tile& b = tile(weights);
  check_shapes(sums, a, b);
  for (int m = 0; m < sums.rows; ++m) {
    for (int n = 0; n < sums.bytes / 4; ++n) {
      auto sum = number_at<uint32_t>(sums, m, n);
      for (int k = 0; k < a.bytes; ++k) {
        const int product = int{number_at<A>(a, m, k)} * int{number_at<B>(b, k / 4, 4 * n + k % 4)};
        sum += static_cast<uint32_t>(product);
      }
      std::memcpy(sums.data[m] + 4 * n, &sum, 4);
    }
  }
}

float flushed(float x) { return std::fabs(x) < 0x1p-126F ? std::copysign(0.0F, x) : x; }

float bfloat_at(const Tile& tile, int row, int place) {
  const uint32_t bits = uint32_t{number_at<uint16_t>(tile, row, place)} << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return flushed(value);
}

// Even and odd k have a float32 chain of multiply-adds each, whose sum is added to the tile.
// Subnormals are zeros.
[[maybe_unused]] void tile_bfloats(int to, int rows, int weights) {
  Tile& sums = tile(to);
  const Tile& a = tile(rows);
  const Tile& b = tile(weights);
  check_shapes(sums, a, b);
  for (int m = 0; m < sums.rows; ++m) {
    for (int n = 0; n < sums.bytes / 4; ++n) {
      float chains[2] = {0.0F, 0.0F};
      for (int k = 0; k < a.bytes / 2; ++k) {
        const float product_of = bfloat_at(a, m, k);
        chains[k % 2] =
            flushed(std::fma(product_of, bfloat_at(b, k / 2, 2 * n + k % 2), chains[k % 2]));
      }
      const float both = flushed(chains[0] + chains[1]);
      const float sum = flushed(flushed(number_at<float>(sums, m, n)) + both);
      std::memcpy(sums.data[m] + 4 * n, &sum, 4);
    }
  }
}

uint16_t rounded_to_bfloat(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  if (std::isnan(x)) return static_cast<uint16_t>(bits >> 16 | 0x40);
  if (std::fabs(x) < 0x1p-126F) return static_cast<uint16_t>(bits >> 16 & 0x8000);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

// Those of b come first.
[[maybe_unused]] __m512i to_bfloats(__m512 a, __m512 b) {
  float from[32];
  uint16_t to[32];
  std::memcpy(from, &b, 64);
  std::memcpy(from + 16, &a, 64);
  for (int i = 0; i < 32; ++i) to[i] = rounded_to_bfloat(from[i]);
  __m512i result;
  std::memcpy(&result, to, 64);
  return result;
}

}  // namespace
}  // namespace stepguard_emulation

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbssd
#undef _tile_dpbusd
#undef _tile_dpbf16ps
#undef _mm512_cvtne2ps_pbh
#define _tile_loadconfig stepguard_emulation::tile_configure
#define _tile_release stepguard_emulation::tile_release
#define _tile_zero stepguard_emulation::tile_zero
#define _tile_loadd stepguard_emulation::tile_load
#define _tile_stored stepguard_emulation::tile_store
#define _tile_dpbssd stepguard_emulation::tile_bytes<int8_t, int8_t>
#define _tile_dpbusd stepguard_emulation::tile_bytes<uint8_t, int8_t>
#define _tile_dpbf16ps stepguard_emulation::tile_bfloats
#define _mm512_cvtne2ps_pbh stepguard_emulation::to_bfloats
