// How the heads of a Gated DeltaNet layer lie in its rows, and its gates. The functions are static:
// no table may share a symbol that was compiled for its instruction set.
#pragma once

#include "kernels.h"

namespace stepguard {

// x * 1/sqrt(sum(x^2) + epsilon) of q and k: a constant of the architecture, not of a checkpoint.
constexpr double kDeltaNormEpsilon = 1e-6;

// Columns of q, k and v together.
STEPGUARD_DEVICE static inline int64_t delta_channels(const DeltaShape& shape) {
  return 2 * shape.k_heads * shape.k_dim + shape.v_heads * shape.v_dim;
}

STEPGUARD_DEVICE static inline int64_t delta_out_width(const DeltaShape& shape) {
  return shape.v_heads * shape.v_dim;
}

// A unit is one head of q, of k, or of v, in this order.
STEPGUARD_DEVICE static inline int64_t delta_units(const DeltaShape& shape) {
  return 2 * shape.k_heads + shape.v_heads;
}

struct DeltaUnit {
  int64_t channel;  // its first
  int64_t dim;
  bool normed;   // q or k
  double scale;  // of the normed row: 1/sqrt(k_dim) for q
  int64_t head;  // of v, else -1
};

STEPGUARD_DEVICE static inline DeltaUnit delta_unit(const DeltaShape& shape, int64_t unit) {
  const int64_t head = unit - 2 * shape.k_heads;
  if (head >= 0) {
    const int64_t channel = 2 * shape.k_heads * shape.k_dim + head * shape.v_dim;
    return {channel, shape.v_dim, false, 1.0, head};
  }
  const bool query = unit < shape.k_heads;
  const auto dim = static_cast<double>(shape.k_dim);
  return {unit * shape.k_dim, shape.k_dim, true, query ? 1.0 / __builtin_sqrt(dim) : 1.0, -1};
}

// Where prepare leaves a unit's rows, [rows][dim].
STEPGUARD_DEVICE static inline float* delta_rows(const DeltaShape& shape, const DeltaCall& call,
                                                 int64_t unit) {
  return call.qkv + delta_unit(shape, unit).channel * call.rows;
}

// What the rule reads and writes for one v head. Consecutive v heads share a k head.
struct DeltaHead {
  const float *q, *k;  // [rows][k_dim]
  const float* v;      // [rows][v_dim]
  const float* gates;  // [rows][2]
  const float* z;      // [rows][v_dim], row r at r * z_stride
  float* out;          // likewise
  int64_t z_stride, out_stride;
};

STEPGUARD_DEVICE static inline DeltaHead delta_head(const DeltaShape& shape, const DeltaCall& call,
                                                    int64_t v_head) {
  const int64_t k_head = v_head / (shape.v_heads / shape.k_heads);
  const int64_t width = delta_out_width(shape);
  const int64_t at = v_head * shape.v_dim;
  return {delta_rows(shape, call, k_head),
          delta_rows(shape, call, shape.k_heads + k_head),
          delta_rows(shape, call, 2 * shape.k_heads + v_head),
          call.gates + v_head * call.rows * 2,
          call.qkvz + delta_channels(shape) + at,
          call.out + at,
          delta_channels(shape) + width,
          width};
}

// Writes call.gates of one v head: decay = exp(-exp(a_log) * softplus(a + dt_bias)) and
// beta = sigmoid(b) of every row, in double, rounded once.
void delta_gates(const DeltaShape& shape, const DeltaCall& call, int64_t v_head);

}  // namespace stepguard
