// Own: Linear with int4 and int8 weights. In bfloat16 sums stay in the tiles (bfloat16.h); with
// other rows for every 32 along k a tile gives the sums of up to 16 rows and 16 columns, then comes
// one multiply-add per output: the same order as in all tables. With rows in integers the sums are
// exact, and so are the bits those of the other tables. Float32 weights gain nothing and go through
// avx512.
#include <cstring>

#include "amx/bfloat16.h"
#include "amx/kinds.h"
#include "amx/table.h"
#include "amx/vec.h"
#include "avx512/table.h"
#include "vector/linear_groups.h"

namespace stepguard::amx {
namespace {

constexpr int64_t kSliceBlocks = 16;  // blocks of weights that are unpacked for all rows

Split split_tiles(int64_t rows) { return split_by(rows, kTileRows); }

// Rows of every block as they are packed: the smaller ones have a row of zeros behind them.
int64_t tile_rows(const Split& split) { return split.base + (split.extra > 0 ? 1 : 0); }

// Bytes of one part of a block of rows, for 32 along k; a record holds all parts, then the scales.
template <class Kind>
int64_t part_bytes(int64_t rows) {
  return rows * Kind::kBytes;
}
template <class Kind>
int64_t record_bytes(int64_t rows) {
  return Kind::kParts * part_bytes<Kind>(rows) + rows * 4;
}

template <class Kind>
size_t packed_bytes(const LinearInput& input) {
  const Split split = split_tiles(input.rows);
  const int64_t blocks = (input.k + kBlock - 1) / kBlock;
  return static_cast<size_t>(split.count * blocks * record_bytes<Kind>(tile_rows(split)));
}

template <class Kind>
void pack_block(const LinearInput& input, const float* x, int64_t count, int64_t rows,
                uint8_t* record) {
  const int64_t part = part_bytes<Kind>(rows);
  for (int64_t k = 0; k < input.k; k += kBlock, record += record_bytes<Kind>(rows)) {
    std::memset(record, 0, static_cast<size_t>(record_bytes<Kind>(rows)));
    for (int64_t r = 0; r < count; ++r) {
      const float scale = Kind::pack(x + r * input.k + k, least(kBlock, input.k - k), part,
                                     record + r * Kind::kBytes);
      std::memcpy(record + Kind::kParts * part + r * 4, &scale, sizeof scale);
    }
  }
}

template <class Kind>
void pack_kind(const LinearInput& input, const float* x, int64_t begin, int64_t end,
               uint8_t* packed) {
  const Split split = split_tiles(input.rows);
  const int64_t rows = tile_rows(split);
  const int64_t blocks = (input.k + kBlock - 1) / kBlock;
  for (int64_t b = begin; b < end; ++b) {
    pack_block<Kind>(input, x + block_start(split, b) * input.k, block_rows(split, b), rows,
                     packed + b * blocks * record_bytes<Kind>(rows));
  }
}

// Adds the sums of a block to those of its rows, which stay in registers from block to block.
template <class Kind, int Rows>
[[gnu::always_inline]] inline void add_block(const Block& block, const uint16_t* scales,
                                             Vec (&sums)[Rows]) {
  const Vec scale = load_half(scales);
  const uint8_t* row_scales = block.rows + Kind::kParts * block.part;
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) {
    float row_scale;
    std::memcpy(&row_scale, row_scales + r * 4, sizeof row_scale);
    sums[r] = fma(mul(splat(row_scale), scale), Kind::total(block.sums, r), sums[r]);
  }
}

// `Rows` rows, of records for `rows`, and `blocks` blocks of a panel: sums [Rows][16] += x . w.
// The tiles are one block ahead of the additions.
template <class Kind, int Rows>
void multiply_rows(const uint8_t* record, int64_t rows, const uint8_t* const* weights,
                   const uint16_t* scales, int64_t blocks, float* to) {
  alignas(64) Sums memory[2][2];
  const int64_t size = record_bytes<Kind>(rows);
  const int64_t part = part_bytes<Kind>(rows);
  Vec sums[Rows];
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) sums[r] = load(to + r * kPanel);
  const auto block = [&](int64_t i) {
    return Block{record + i * size, part, weights[i], memory[i % 2]};
  };
  Kind::multiply_0(block(0));
  int64_t i = 0;
  for (; i + 2 < blocks; i += 2) {
    Kind::multiply_1(block(i + 1));
    add_block<Kind, Rows>(block(i), scales + i * kPanel, sums);
    Kind::multiply_0(block(i + 2));
    add_block<Kind, Rows>(block(i + 1), scales + (i + 1) * kPanel, sums);
  }
  if (i + 1 < blocks) Kind::multiply_1(block(i + 1));
  add_block<Kind, Rows>(block(i), scales + i * kPanel, sums);
  if (i + 1 < blocks) add_block<Kind, Rows>(block(i + 1), scales + (i + 1) * kPanel, sums);
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) store(to + r * kPanel, sums[r]);
}

using MultiplyRows = void (*)(const uint8_t*, int64_t, const uint8_t* const*, const uint16_t*,
                              int64_t, float*);

template <class Kind, int... R>
constexpr ByRows<MultiplyRows, sizeof...(R)> rows_multipliers(std::integer_sequence<int, R...>) {
  return {{multiply_rows<Kind, R + 1>...}};
}

template <class Kind>
void accumulate_panel(const LinearCall& call, int64_t panel, const Group& group, float* sums) {
  static constexpr auto multiply =
      rows_multipliers<Kind>(std::make_integer_sequence<int, kTileRows>());
  alignas(64) uint8_t buffer[kSliceBlocks * Kind::kWeightBytes + 64];
  const uint8_t* weights[kSliceBlocks];
  const LinearWeight& w = call.weight;
  const int64_t blocks = (w.k + kBlock - 1) / kBlock;
  const int64_t rows = tile_rows(group.split);
  const auto* packed = static_cast<const uint8_t*>(call.packed);
  for (int64_t first = 0; first < blocks; first += kSliceBlocks) {
    const int64_t count = least(kSliceBlocks, blocks - first);
    for (int64_t i = 0; i < count; ++i) {
      weights[i] = Kind::weights(w, panel * blocks + first + i, buffer + i * Kind::kWeightBytes);
    }
    before_tile_loads();
    for (int64_t b = group.begin; b < group.end; ++b) {
      multiply[block_rows(group.split, b)](
          packed + (b * blocks + first) * record_bytes<Kind>(rows), rows, weights,
          w.scales + (panel * blocks + first) * kPanel, count,
          sums + (block_start(group.split, b) - group.first) * kPanel);
    }
  }
}

template <class Kind>
void accumulate(const LinearCall& call, int64_t panel, int64_t panels, const Group& group) {
  for (int64_t p = 0; p < panels; ++p) {
    accumulate_panel<Kind>(call, panel + p, group, group.sums + p * group.rows * kPanel);
  }
}

// The functions for one kind of rows and weights.
struct Functions {
  size_t (*packed_bytes)(const LinearInput&);
  void (*pack)(const LinearInput&, const float*, int64_t, int64_t, uint8_t*);
  Accumulate accumulate;
  int64_t k_bytes;
};

template <class Kind>
constexpr Functions kFunctions = {packed_bytes<Kind>, pack_kind<Kind>, accumulate<Kind>,
                                  Kind::kBytes};

const Functions& functions(WeightFormat format, Activations activations) {
  const bool int4 = format == WeightFormat::kInt4;
  if (activations == Activations::kInt8) {
    return int4 ? kFunctions<Int4Rows> : kFunctions<Int8Rows>;
  }
  return int4 ? kFunctions<FloatRows<Int4Weights>> : kFunctions<FloatRows<Int8Weights>>;
}

}  // namespace

int64_t linear_blocks(const LinearInput& input) {
  if (input.format == WeightFormat::kFloat32) return avx512::linear_blocks(input);
  if (input.activations == Activations::kBfloat16) return row_tiles(input.rows);
  return split_tiles(input.rows).count;
}

size_t linear_packed_bytes(const LinearInput& input) {
  if (input.format == WeightFormat::kFloat32) return avx512::linear_packed_bytes(input);
  if (input.activations == Activations::kBfloat16) return bfloat16_bytes(input);
  return functions(input.format, input.activations).packed_bytes(input);
}

void linear_pack(const LinearInput& input, const float* x, int64_t block_begin, int64_t block_end,
                 void* packed) {
  if (input.format == WeightFormat::kFloat32) {
    return avx512::linear_pack(input, x, block_begin, block_end, packed);
  }
  if (input.activations == Activations::kBfloat16) {
    return pack_bfloat16(input, x, block_begin, block_end, static_cast<uint8_t*>(packed));
  }
  functions(input.format, input.activations)
      .pack(input, x, block_begin, block_end, static_cast<uint8_t*>(packed));
}

void linear(const LinearCall& call, int64_t unit_begin, int64_t unit_end) {
  if (call.weight.format == WeightFormat::kFloat32) {
    return avx512::linear(call, unit_begin, unit_end);
  }
  if (call.activations == Activations::kBfloat16) {
    return call.weight.format == WeightFormat::kInt4
               ? linear_bfloat16<Int4Tiles>(call, unit_begin, unit_end)
               : linear_bfloat16<Int8Tiles>(call, unit_begin, unit_end);
  }
  const Split split = split_tiles(call.rows);
  if (split.count == 0) return;
  const Functions& used = functions(call.weight.format, call.activations);
  const Tiles tiles(tile_rows(split), used.k_bytes);
  run_groups<kTileRows>(call, split, unit_begin, unit_end, used.accumulate);
}

}  // namespace stepguard::amx
