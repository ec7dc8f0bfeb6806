// What the kernels of Linear share: which thread has which outputs, and what follows the sums.
//
// A block has a tile of rows and a unit of columns: a panel, or a pair of panels with SwiGLU. A
// thread has one column and a few rows of it, and goes along k alone.
#pragma once

#include "device.h"

namespace stepguard::cuda {

constexpr int kRowsEach = 4;
constexpr int kRowGroups = 8;
constexpr int kRowTile = kRowsEach * kRowGroups;
constexpr int kLinearThreads = kRowGroups * kPanel;

struct RowSums {
  float of[kRowsEach];
};

// The outputs of one thread before anything is added to them.
struct Column {
  int64_t panel, lane;
  int64_t row;  // the first
  int rows;
};

// y = sum (+ bias) (+ residual), or silu(sum) * up.
SG_DEVICE void finish(const LinearCall& call, int64_t row, int64_t column, float sum, float up) {
  const int64_t n = call.weight.n;
  if (call.epilogue == Epilogue::kSwiGlu) {
    if (column < n / 2) call.y[row * (n / 2) + column] = silu(sum) * up;
    return;
  }
  if (column >= n) return;
  if (call.weight.bias != nullptr) sum += call.weight.bias[column];
  if (call.epilogue == Epilogue::kResidual) sum += call.residual[row * n + column];
  call.y[row * n + column] = sum;
}

// Source::add adds x . w of a Column to its sums.
template <class Source>
SG_KERNEL multiply(LinearCall call, int64_t unit_begin, int64_t units) {
  const int64_t tile = block_index() / units;
  const int64_t unit = unit_begin + block_index() % units;
  const bool pair = call.epilogue == Epilogue::kSwiGlu;
  SG_THREADS(t) {
    const int64_t row = tile * kRowTile + t / kPanel * kRowsEach;
    if (row >= call.rows) continue;
    const int64_t left = call.rows - row;
    const int rows = static_cast<int>(left < kRowsEach ? left : kRowsEach);
    const int64_t lane = t % kPanel;
    RowSums sums = {}, up = {};
    Source::add(call, {pair ? 2 * unit : unit, lane, row, rows}, sums);
    if (pair) Source::add(call, {2 * unit + 1, lane, row, rows}, up);
    SG_UNROLL
    for (int r = 0; r < kRowsEach; ++r) {
      if (r < rows) finish(call, row + r, unit * kPanel + lane, sums.of[r], up.of[r]);
    }
  }
}

template <class Source>
Problem launch_multiply(Stream stream, const LinearCall& call, int64_t unit_begin,
                        int64_t unit_end) {
  const int64_t units = unit_end - unit_begin;
  const int64_t tiles = (call.rows + kRowTile - 1) / kRowTile;
  return launch(multiply<Source>, tiles * units, kLinearThreads, stream, call, unit_begin, units);
}

// Blocks of 32 along k.
SG_DEVICE int64_t k_blocks(const LinearWeight& weight) { return (weight.k + kBlock - 1) / kBlock; }

// Word `word` of a block of a column: 4 weights of int8, 8 of int4.
SG_DEVICE uint32_t weight_word(const LinearWeight& weight, const Column& column, int64_t block,
                               int word) {
  const int words = weight.format == WeightFormat::kInt4 ? kBlock / 8 : kBlock / 4;
  const int64_t at = (column.panel * k_blocks(weight) + block) * words + word;
  return static_cast<const uint32_t*>(weight.data)[at * kPanel + column.lane];
}

SG_DEVICE float weight_scale(const LinearWeight& weight, const Column& column, int64_t block) {
  return half_value(
      weight.scales[(column.panel * k_blocks(weight) + block) * kPanel + column.lane]);
}

// Defined in linear_float.cu and linear_tiles.cu; linear_plain in linear_integer.cu.
Problem linear_float(Stream stream, const LinearCall& call, int64_t unit_begin, int64_t unit_end);
Problem linear_tiles(Stream stream, const LinearCall& call, int64_t unit_begin, int64_t unit_end);

}  // namespace stepguard::cuda
