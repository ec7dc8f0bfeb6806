#include <cmath>
#include <cstring>

#include "reference/table.h"

namespace stepguard::reference {
namespace {

constexpr int64_t kTile = 8;  // rows that share a decoded block of weights

int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// Weights k..k+31 of column `lane` of a panel (fewer at the end of k).
void decode_block(const LinearWeight& w, int64_t panel, int64_t lane, int64_t k, double* out) {
  const int64_t count = least(kBlock, w.k - k);
  if (w.format == WeightFormat::kFloat32) {
    const float* data = static_cast<const float*>(w.data) + (panel * w.k + k) * kPanel + lane;
    for (int64_t i = 0; i < count; ++i) out[i] = data[i * kPanel];
    return;
  }
  const int64_t block = panel * ((w.k + kBlock - 1) / kBlock) + k / kBlock;
  const double scale = half_to_float(w.scales[block * kPanel + lane]);
  if (w.format == WeightFormat::kInt8) {
    const int8_t* data = static_cast<const int8_t*>(w.data) + block * kBlock * kPanel + lane * 4;
    for (int64_t i = 0; i < count; ++i) out[i] = scale * data[i / 4 * kPanel * 4 + i % 4];
    return;
  }
  const uint8_t* data =
      static_cast<const uint8_t*>(w.data) + block * kBlock / 2 * kPanel + lane * 4;
  for (int64_t i = 0; i < count; ++i) {
    const int pair = data[i / 8 * kPanel * 4 + i % 8 / 2];
    out[i] = scale * ((i % 2 == 0 ? pair & 15 : pair >> 4) - 8);
  }
}

// sums[i] = x[row + i] . column, each in the order of k.
void dot_rows(const LinearCall& call, int64_t row, int64_t rows, int64_t panel, int64_t lane,
              double* sums) {
  const LinearWeight& w = call.weight;
  const float* x = static_cast<const float*>(call.packed) + row * w.k;
  double weights[kBlock];
  for (int64_t i = 0; i < rows; ++i) sums[i] = 0.0;
  for (int64_t k = 0; k < w.k; k += kBlock) {
    decode_block(w, panel, lane, k, weights);
    const int64_t count = least(kBlock, w.k - k);
    for (int64_t j = 0; j < count; ++j) {
      for (int64_t i = 0; i < rows; ++i) sums[i] += x[i * w.k + k + j] * weights[j];
    }
  }
}

void swiglu_column(const LinearCall& call, int64_t row, int64_t rows, int64_t column) {
  double gate[kTile];
  double up[kTile];
  dot_rows(call, row, rows, column / kPanel * 2, column % kPanel, gate);
  dot_rows(call, row, rows, column / kPanel * 2 + 1, column % kPanel, up);
  for (int64_t i = 0; i < rows; ++i) {
    call.y[(row + i) * (call.weight.n / 2) + column] =
        static_cast<float>(gate[i] / (1.0 + std::exp(-gate[i])) * up[i]);
  }
}

void plain_column(const LinearCall& call, int64_t row, int64_t rows, int64_t column) {
  double sums[kTile];
  dot_rows(call, row, rows, column / kPanel, column % kPanel, sums);
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t at = (row + i) * call.weight.n + column;
    if (call.weight.bias != nullptr) sums[i] += call.weight.bias[column];
    if (call.epilogue == Epilogue::kResidual) sums[i] += call.residual[at];
    call.y[at] = static_cast<float>(sums[i]);
  }
}

}  // namespace

int64_t linear_blocks(int64_t rows) { return rows; }

size_t linear_packed_bytes(WeightFormat, int64_t rows, int64_t k) {
  return static_cast<size_t>(rows * k) * sizeof(float);
}

void linear_pack(WeightFormat, const float* x, int64_t, int64_t k, int64_t block_begin,
                 int64_t block_end, void* packed) {
  if (block_begin >= block_end || k == 0) return;
  std::memcpy(static_cast<float*>(packed) + block_begin * k, x + block_begin * k,
              static_cast<size_t>((block_end - block_begin) * k) * sizeof(float));
}

void linear(const LinearCall& call, int64_t unit_begin, int64_t unit_end) {
  const bool swiglu = call.epilogue == Epilogue::kSwiGlu;
  const int64_t width = swiglu ? call.weight.n / 2 : call.weight.n;
  const int64_t end = least(unit_end * kPanel, width);
  for (int64_t row = 0; row < call.rows; row += kTile) {
    const int64_t rows = least(kTile, call.rows - row);
    for (int64_t column = unit_begin * kPanel; column < end; ++column) {
      (swiglu ? swiglu_column : plain_column)(call, row, rows, column);
    }
  }
}

}  // namespace stepguard::reference
