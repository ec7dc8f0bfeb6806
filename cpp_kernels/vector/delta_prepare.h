// What comes before the delta rule, and the output gate of attention: element by element, or one
// fixed order of sums per element.
#pragma once

#include "delta.h"
#include "vector/norm.h"

namespace stepguard::STEPGUARD_TABLE {
namespace {

// Weights and tail of one unit with its channels side by side: tap j of channel i at [j][i].
struct Taps {
  float weight[kMaxConvWidth][kMaxHeadDim];
  float tail[kMaxConvWidth][kMaxHeadDim];
};

void gather(const float* from, int64_t width, int64_t dim, float (*to)[kMaxHeadDim]) {
  for (int64_t j = 0; j < width; ++j) {
    for (int64_t i = 0; i < dim; ++i) to[j][i] = from == nullptr ? 0.0F : from[i * width + j];
  }
}

// The input `row` of a unit; rows before the segment are in the tail.
const float* input(const Taps& taps, const float* x, int64_t stride, int64_t before, int64_t row) {
  return row < 0 ? taps.tail[row + before] : x + row * stride;
}

// y [rows][dim] = silu(sum over taps, oldest first) for one unit.
void convolve(const DeltaShape& shape, const Taps& taps, const float* x, int64_t stride,
              int64_t rows, int64_t dim, float* y) {
  const int64_t width = shape.conv_width;
  for (int64_t r = 0; r < rows; ++r, y += dim) {
    const float* inputs[kMaxConvWidth];
    for (int64_t j = 0; j < width; ++j) {
      inputs[j] = input(taps, x, stride, width - 1, r - width + 1 + j);
    }
    for (int64_t i = 0; i < dim; i += kLanes) {
      const int64_t count = dim - i;
      Vec sum = mul(load_part(taps.weight[0] + i, count), load_part(inputs[0] + i, count));
      for (int64_t j = 1; j < width; ++j) {
        sum = fma(load_part(taps.weight[j] + i, count), load_part(inputs[j] + i, count), sum);
      }
      store_part(y + i, silu_lanes(sum), count);
    }
  }
}

void normalise(float* x, int64_t dim, double scale) {
  const double norm = square_root(sum_squares(x, dim) + kDeltaNormEpsilon);
  const Vec factor = splat(static_cast<float>(scale / norm));
  for (int64_t i = 0; i < dim; i += kLanes) {
    store_part(x + i, mul(load_part(x + i, dim - i), factor), dim - i);
  }
}

void prepare_unit(const DeltaShape& shape, const DeltaCall& call, const DeltaUnit& unit, float* y) {
  const int64_t before = shape.conv_width - 1;
  const int64_t stride = delta_channels(shape) + delta_out_width(shape);
  const float* x = call.qkvz + unit.channel;
  const int64_t at = unit.channel * before;
  Taps taps;
  gather(shape.conv_weight + unit.channel * shape.conv_width, shape.conv_width, unit.dim,
         taps.weight);
  gather(call.conv_source == nullptr ? nullptr : call.conv_source + at, before, unit.dim,
         taps.tail);
  convolve(shape, taps, x, stride, call.rows, unit.dim, y);
  for (int64_t r = 0; unit.normed && r < call.rows; ++r) {
    normalise(y + r * unit.dim, unit.dim, unit.scale);
  }
  if (call.conv_target == nullptr) return;
  for (int64_t j = 0; j < before; ++j) {
    const float* last = input(taps, x, stride, before, call.rows - before + j);
    for (int64_t i = 0; i < unit.dim; ++i) call.conv_target[at + i * before + j] = last[i];
  }
}

}  // namespace

void sigmoid_gate(const float* gate, int64_t gate_stride, int64_t rows, int64_t width, float* x,
                  int64_t stride) {
  for (int64_t r = 0; r < rows; ++r, gate += gate_stride, x += stride) {
    for (int64_t i = 0; i < width; i += kLanes) {
      const Vec factor = sigmoid_lanes(load_part(gate + i, width - i));
      store_part(x + i, mul(load_part(x + i, width - i), factor), width - i);
    }
  }
}

void delta_prepare(const DeltaShape& shape, const DeltaCall& call, int64_t unit_begin,
                   int64_t unit_end) {
  for (int64_t u = unit_begin; u < unit_end; ++u) {
    const DeltaUnit unit = delta_unit(shape, u);
    prepare_unit(shape, call, unit, delta_rows(shape, call, u));
    if (unit.head >= 0) delta_gates(shape, call, unit.head);
  }
}

}  // namespace stepguard::STEPGUARD_TABLE
