// How the rows of a Linear are cut into blocks that a register tile takes at once.
#pragma once

#include "avx2/vec.h"

namespace stepguard::avx2 {

// Rows split evenly into blocks: 8 rows are 4 + 4, never 6 + 2, since small tiles are slow.
struct Split {
  int64_t count, base, extra;
};

// Row blocks [begin, end) of a call: its rows from `first` on. Sums lie as [panel][rows][16].
struct Group {
  Split split;
  int64_t begin, end;
  int64_t first, rows;
  float* sums;
};

constexpr int64_t kFloatRows = 6;     // rows of a block
constexpr int64_t kIntegerRows = 4;   // fewer: products need registers too
constexpr int64_t kGroupBlocks = 16;  // row blocks that share a decoded slice of weights

namespace {

[[maybe_unused]] inline Split split_rows(int64_t rows, Activations activations) {
  const int64_t most = activations == Activations::kInt8 ? kIntegerRows : kFloatRows;
  const int64_t count = (rows + most - 1) / most;
  return count == 0 ? Split{0, 0, 0} : Split{count, rows / count, rows % count};
}

// Where a block begins, and how many rows it has.
[[maybe_unused]] inline int64_t block_start(const Split& split, int64_t block) {
  return block * split.base + least(block, split.extra);
}

[[maybe_unused]] inline int64_t block_rows(const Split& split, int64_t block) {
  return split.base + (block < split.extra ? 1 : 0);
}

[[maybe_unused]] inline Group group_at(const Split& split, int64_t begin, float* sums) {
  const int64_t end = least(begin + kGroupBlocks, split.count);
  const int64_t first = block_start(split, begin);
  return {split, begin, end, first, block_start(split, end) - first, sums};
}

}  // namespace

// Adds x . w of a group of rows to the sums of 1 or 2 panels from `panel` on.
void accumulate_floats(const LinearCall& call, int64_t panel, int64_t panels, const Group& group);
void accumulate_integers(const LinearCall& call, int64_t panel, int64_t panels, const Group& group);

// Packs row blocks [begin, end) of x. As floats a block becomes [k][rows]; as integers, one record
// for every 32 along k.
void pack_floats(const LinearInput& input, const Split& split, const float* x, int64_t begin,
                 int64_t end, void* packed);
void pack_integers(const LinearInput& input, const Split& split, const float* x, int64_t begin,
                   int64_t end, void* packed);
size_t integer_bytes(const LinearInput& input);

}  // namespace stepguard::avx2
