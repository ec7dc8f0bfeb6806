// The gated delta rule. Columns of a head's state do not touch each other, so a slice of them that
// fits the first cache runs through all rows of the segment before the next. A column's sums have
// one order: over even and over odd rows of the state, then their sum, for k.S; row by row for q.S.
#pragma once

#include "delta.h"
#include "vector/norm.h"

namespace stepguard::STEPGUARD_TABLE {
namespace {

constexpr int64_t kStateSlice = kStateVectors * kLanes;

// The columns of a head's state, [k_dim][slice] here and [k_dim][v_dim] outside; missing columns
// are zero.
void load_state(const float* from, int64_t k_dim, int64_t v_dim, int64_t columns, float* state) {
  for (int64_t r = 0; r < k_dim; ++r, state += kStateSlice) {
#pragma GCC unroll 8
    for (int i = 0; i < kStateVectors; ++i) {
      const Vec value =
          from == nullptr ? zeros() : load_part(from + r * v_dim + i * kLanes, part_of(columns, i));
      store(state + i * kLanes, value);
    }
  }
}

void store_state(const float* state, int64_t k_dim, int64_t v_dim, int64_t columns, float* to) {
  for (int64_t r = 0; r < k_dim; ++r, state += kStateSlice) {
#pragma GCC unroll 8
    for (int i = 0; i < kStateVectors; ++i) {
      store_part(to + r * v_dim + i * kLanes, load(state + i * kLanes), part_of(columns, i));
    }
  }
}

// known = k . S, over even and over odd rows.
void read_known(const float* state, const float* k, int64_t k_dim, Vec known[kStateVectors]) {
  Vec odd[kStateVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kStateVectors; ++i) known[i] = odd[i] = zeros();
  int64_t r = 0;
  for (; r + 1 < k_dim; r += 2, state += 2 * kStateSlice) {
    const Vec first = splat(k[r]);
    const Vec second = splat(k[r + 1]);
#pragma GCC unroll 8
    for (int i = 0; i < kStateVectors; ++i) {
      known[i] = fma(first, load(state + i * kLanes), known[i]);
      odd[i] = fma(second, load(state + kStateSlice + i * kLanes), odd[i]);
    }
  }
  if (r < k_dim) {
    const Vec last = splat(k[r]);
#pragma GCC unroll 8
    for (int i = 0; i < kStateVectors; ++i) {
      known[i] = fma(last, load(state + i * kLanes), known[i]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kStateVectors; ++i) known[i] = add(known[i], odd[i]);
}

// S = decay S + k delta; out = q . S.
void update(float* state, const float* q, const float* k, int64_t k_dim, Vec decay,
            const Vec delta[kStateVectors], Vec out[kStateVectors]) {
#pragma GCC unroll 8
  for (int i = 0; i < kStateVectors; ++i) out[i] = zeros();
  for (int64_t r = 0; r < k_dim; ++r, state += kStateSlice) {
    const Vec key = splat(k[r]);
    const Vec query = splat(q[r]);
#pragma GCC unroll 8
    for (int i = 0; i < kStateVectors; ++i) {
      const Vec now = fma(key, delta[i], mul(decay, load(state + i * kLanes)));
      store(state + i * kLanes, now);
      out[i] = fma(query, now, out[i]);
    }
  }
}

// All rows of the segment for columns column.. of one head.
void run_slice(const DeltaShape& shape, const DeltaHead& head, int64_t rows, int64_t column,
               int64_t columns, float* state) {
  for (int64_t r = 0; r < rows; ++r) {
    const float* q = head.q + r * shape.k_dim;
    const float* k = head.k + r * shape.k_dim;
    const float* v = head.v + r * shape.v_dim + column;
    float* out = head.out + r * head.out_stride + column;
    const Vec decay = splat(head.gates[2 * r]);
    const Vec beta = splat(head.gates[2 * r + 1]);
    Vec delta[kStateVectors];
    Vec sum[kStateVectors];
    read_known(state, k, shape.k_dim, delta);
#pragma GCC unroll 8
    for (int i = 0; i < kStateVectors; ++i) {
      const Vec value = load_part(v + i * kLanes, part_of(columns, i));
      delta[i] = mul(beta, fnma(decay, delta[i], value));
    }
    update(state, q, k, shape.k_dim, decay, delta, sum);
#pragma GCC unroll 8
    for (int i = 0; i < kStateVectors; ++i) {
      store_part(out + i * kLanes, sum[i], part_of(columns, i));
    }
  }
}

// out = rms_norm(out) * norm * silu(z), one head of one row.
void gated_norm(const DeltaShape& shape, const float* z, float* out) {
  const int64_t dim = shape.v_dim;
  const Vec inverse = splat(inverse_rms(out, dim, shape.epsilon));
  for (int64_t i = 0; i < dim; i += kLanes) {
    const Vec normed = mul(load_part(out + i, dim - i), inverse);
    const Vec scaled = mul(normed, load_part(shape.norm + i, dim - i));
    store_part(out + i, mul(scaled, silu_lanes(load_part(z + i, dim - i))), dim - i);
  }
}

}  // namespace

void delta_rule(const DeltaShape& shape, const DeltaCall& call, int64_t head_begin,
                int64_t head_end) {
  alignas(64) float state[kMaxHeadDim * kStateSlice];
  for (int64_t h = head_begin; h < head_end; ++h) {
    const DeltaHead head = delta_head(shape, call, h);
    const int64_t first = h * shape.k_dim * shape.v_dim;
    for (int64_t c = 0; c < shape.v_dim; c += kStateSlice) {
      const int64_t columns = least(kStateSlice, shape.v_dim - c);
      const float* source = call.delta_source == nullptr ? nullptr : call.delta_source + first + c;
      load_state(source, shape.k_dim, shape.v_dim, columns, state);
      run_slice(shape, head, call.rows, c, columns, state);
      if (call.delta_target != nullptr) {
        store_state(state, shape.k_dim, shape.v_dim, columns, call.delta_target + first + c);
      }
    }
    for (int64_t r = 0; r < call.rows; ++r) {
      gated_norm(shape, head.z + r * head.z_stride, head.out + r * head.out_stride);
    }
  }
}

}  // namespace stepguard::STEPGUARD_TABLE
