// How the rows of a Linear are cut into blocks that a register tile takes at once.
#pragma once

#include <utility>

#include "vector/math.h"

namespace stepguard::STEPGUARD_TABLE {
namespace {

constexpr int kParts = kPanel / kLanes;  // vectors of a panel
constexpr int64_t kGroupBlocks = 16;     // row blocks that share a slice of weights

// Rows split evenly into blocks: 10 rows are 5 + 5, never 8 + 2, since small tiles are slow.
struct Split {
  int64_t count, base, extra;
};

[[maybe_unused]] inline Split split_by(int64_t rows, int64_t most) {
  const int64_t count = (rows + most - 1) / most;
  return count == 0 ? Split{0, 0, 0} : Split{count, rows / count, rows % count};
}
[[maybe_unused]] inline Split split_rows(int64_t rows, Activations activations) {
  return split_by(rows, activations == Activations::kInt8 ? kIntegerRows : kFloatRows);
}

// Where a block begins, and how many rows it has.
[[maybe_unused]] inline int64_t block_start(const Split& split, int64_t block) {
  return block * split.base + least(block, split.extra);
}
[[maybe_unused]] inline int64_t block_rows(const Split& split, int64_t block) {
  return split.base + (block < split.extra ? 1 : 0);
}

// Row blocks [begin, end) of a call: its rows from `first` on. Sums lie as [panel][rows][16].
struct Group {
  Split split;
  int64_t begin, end;
  int64_t first, rows;
  float* sums;

  Group(const Split& all, int64_t block, float* to)
      : split(all), begin(block), end(least(block + kGroupBlocks, all.count)), sums(to) {
    first = block_start(split, begin);
    rows = block_start(split, end) - first;
  }
  // Rows that are not cut into blocks.
  Group(int64_t first_row, int64_t count, float* to)
      : split{}, begin(0), end(0), first(first_row), rows(count), sums(to) {}
};

// A function of 1 to N rows, by their number.
template <class Function, int N>
struct ByRows {
  Function functions[N];
  Function operator[](int64_t rows) const { return functions[rows - 1]; }
};

}  // namespace
}  // namespace stepguard::STEPGUARD_TABLE
