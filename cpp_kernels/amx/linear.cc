// Own: Linear with int4 and int8 weights. For every 32 along k a tile gives the sums of up to 16
// rows and 16 columns, then comes one multiply-add per output: the same order as in all tables.
// With rows in integers the sums are exact, and so are the bits those of the other tables. Float32
// weights gain nothing and go through avx512.
#include <cstring>

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

// Adds one of two blocks along k to sums [count][16].
template <class Kind>
void add_block(const Pair& pair, int block, int64_t count, const uint16_t* scales, float* sums) {
  const Vec scale = load_half(scales);
  const uint8_t* row_scales = pair.rows[block] + Kind::kParts * pair.part;
  for (int64_t r = 0; r < count; ++r, sums += kPanel) {
    float row_scale;
    std::memcpy(&row_scale, row_scales + r * 4, sizeof row_scale);
    const Vec total = Kind::total(pair, block, r);
    store(sums, fma(mul(splat(row_scale), scale), total, load(sums)));
  }
}

// One block of rows and `blocks` blocks of a panel: sums [count][16] += x . w.
template <class Kind>
void multiply_rows(const uint8_t* record, int64_t rows, int64_t count,
                   const uint8_t* const* weights, const uint16_t* scales, int64_t blocks,
                   float* sums) {
  alignas(64) int32_t memory[4][kTileRows * kPanel];
  const int64_t size = record_bytes<Kind>(rows);
  for (int64_t i = 0; i < blocks; i += 2, record += 2 * size, scales += 2 * kPanel) {
    const int second = i + 1 < blocks ? 1 : 0;  // the last may be alone: then it is done twice
    const Pair pair{{record, record + second * size},
                    {weights[i], weights[i + second]},
                    part_bytes<Kind>(rows),
                    memory};
    Kind::multiply(pair);
    add_block<Kind>(pair, 0, count, scales, sums);
    if (second == 1) add_block<Kind>(pair, 1, count, scales + kPanel, sums);
  }
}

template <class Kind>
void accumulate_panel(const LinearCall& call, int64_t panel, const Group& group, float* sums) {
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
      multiply_rows<Kind>(packed + (b * blocks + first) * record_bytes<Kind>(rows), rows,
                          block_rows(group.split, b), weights,
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
  return split_tiles(input.rows).count;
}

size_t linear_packed_bytes(const LinearInput& input) {
  if (input.format == WeightFormat::kFloat32) return avx512::linear_packed_bytes(input);
  return functions(input.format, input.activations).packed_bytes(input);
}

void linear_pack(const LinearInput& input, const float* x, int64_t block_begin, int64_t block_end,
                 void* packed) {
  if (input.format == WeightFormat::kFloat32) {
    return avx512::linear_pack(input, x, block_begin, block_end, packed);
  }
  functions(input.format, input.activations)
      .pack(input, x, block_begin, block_end, static_cast<uint8_t*>(packed));
}

void linear(const LinearCall& call, int64_t unit_begin, int64_t unit_end) {
  if (call.weight.format == WeightFormat::kFloat32) {
    return avx512::linear(call, unit_begin, unit_end);
  }
  const Split split = split_tiles(call.rows);
  if (split.count == 0) return;
  const Functions& used = functions(call.weight.format, call.activations);
  const Tiles tiles(tile_rows(split), used.k_bytes);
  run_groups<kTileRows>(call, split, unit_begin, unit_end, used.accumulate);
}

}  // namespace stepguard::amx
