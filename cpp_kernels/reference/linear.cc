#include <cmath>
#include <cstring>

#include "bfloat16_rows.h"
#include "integer_rows.h"
#include "reference/table.h"

namespace stepguard::reference {
namespace {

constexpr int64_t kTile = 8;  // rows that share a decoded block of weights

int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// A weight with its scale, exact or as bfloat16.
double scaled(double scale, int value, bool bfloat16) {
  return bfloat16 ? bfloat16_weight(static_cast<float>(scale), static_cast<float>(value))
                  : scale * value;
}

// Weights k..k+31 of column `lane` of a panel (fewer at the end of k).
void decode_block(const LinearCall& call, int64_t panel, int64_t lane, int64_t k, double* out) {
  const LinearWeight& w = call.weight;
  const bool bfloat16 = call.activations == Activations::kBfloat16;
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
    for (int64_t i = 0; i < count; ++i) {
      out[i] = scaled(scale, data[i / 4 * kPanel * 4 + i % 4], bfloat16);
    }
    return;
  }
  const uint8_t* data =
      static_cast<const uint8_t*>(w.data) + block * kBlock / 2 * kPanel + lane * 4;
  for (int64_t i = 0; i < count; ++i) {
    const int pair = data[i / 8 * kPanel * 4 + i % 8 / 2];
    out[i] = scaled(scale, (i % 2 == 0 ? pair & 15 : pair >> 4) - 8, bfloat16);
  }
}

// sums[i] = x[row + i] . column, each in the order of k.
void dot_rows(const LinearCall& call, int64_t row, int64_t rows, int64_t panel, int64_t lane,
              double* sums) {
  const LinearWeight& w = call.weight;
  const double* x = static_cast<const double*>(call.packed) + row * w.k;
  double weights[kBlock];
  for (int64_t i = 0; i < rows; ++i) sums[i] = 0.0;
  for (int64_t k = 0; k < w.k; k += kBlock) {
    decode_block(call, panel, lane, k, weights);
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

// A row as the integers that it is rounded to, times their scales: exact in double.
void round_row(const float* x, int64_t k, float levels, double* y) {
  for (int64_t begin = 0; begin < k; begin += kBlock) {
    const int64_t end = least(begin + kBlock, k);
    uint32_t most = 0;
    for (int64_t i = begin; i < end; ++i) {
      const float magnitude = std::fabs(x[i]);
      uint32_t bits;
      std::memcpy(&bits, &magnitude, sizeof bits);
      most = bits > most ? bits : most;
    }
    const IntegerScale scale = integer_scale(most, levels);
    for (int64_t i = begin; i < end; ++i) {
      const float value = scale.inverse == 0.0F ? 0.0F : std::nearbyint(x[i] * scale.inverse);
      y[i] = double{scale.scale} * value;
    }
  }
}

}  // namespace

int64_t linear_blocks(const LinearInput& input) { return input.rows; }

size_t linear_packed_bytes(const LinearInput& input) {
  return static_cast<size_t>(input.rows * input.k) * sizeof(double);
}

void linear_pack(const LinearInput& input, const float* x, int64_t block_begin, int64_t block_end,
                 void* packed) {
  for (int64_t row = block_begin; row < block_end; ++row) {
    const float* from = x + row * input.k;
    double* to = static_cast<double*>(packed) + row * input.k;
    if (input.activations == Activations::kInt8) {
      round_row(from, input.k, integer_levels(input.format), to);
    } else if (input.activations == Activations::kBfloat16) {
      for (int64_t i = 0; i < input.k; ++i) to[i] = round_to_bfloat16(from[i]);
    } else {
      for (int64_t i = 0; i < input.k; ++i) to[i] = from[i];
    }
  }
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
