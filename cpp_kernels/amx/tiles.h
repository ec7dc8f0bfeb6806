// The tiles of a thread: 0 to 3 hold sums of up to 16 rows and 16 columns, 4 and 5 parts of rows, 6
// and 7 weights. A product takes 4 bytes of k at a time: four of 8 bits, or two bfloat16.
#pragma once

#include "amx/vec.h"

namespace stepguard::amx {
namespace {

constexpr int kTileRows = 16;

struct TileConfig {
  uint8_t palette = 1, start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfig) == 64, "what ldtilecfg reads");

// Shapes for as long as it lives. Fewer rows than 16 use the same instructions and take less time.
class Tiles {
 public:
  // `rows` of `k_bytes` bytes are multiplied with 16 columns of as many bytes.
  Tiles(int64_t rows, int64_t k_bytes) {
    TileConfig config;
    for (int tile = 0; tile < 4; ++tile) shape(config, tile, rows, kPanel * 4);
    for (int tile = 4; tile < 6; ++tile) shape(config, tile, rows, k_bytes);
    for (int tile = 6; tile < 8; ++tile) shape(config, tile, k_bytes / 4, kPanel * 4);
    // gcc 12 believes that only the first 8 bytes are read, and drops stores to the others.
    asm volatile("" : : "r"(&config) : "memory");
    _tile_loadconfig(&config);
  }
  ~Tiles() { _tile_release(); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;

 private:
  static void shape(TileConfig& config, int tile, int64_t rows, int64_t bytes) {
    config.rows[tile] = static_cast<uint8_t>(rows);
    config.row_bytes[tile] = static_cast<uint16_t>(bytes);
  }
};

// Loads of tiles do not tell the compiler that they read memory: all stores come before this.
[[maybe_unused]] inline void before_tile_loads() { asm volatile("" : : : "memory"); }

}  // namespace
}  // namespace stepguard::amx
