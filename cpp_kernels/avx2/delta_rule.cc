// The gated delta rule. Columns of a head's state do not touch each other, so 32 of them at a time
// (16 KiB at k_dim 128, half of L1) run through all rows of the segment before the next 32. A
// column's sums have one order: over even and over odd rows of the state, then their sum, for k.S;
// row by row for q.S.
#include "avx2/activation.h"
#include "avx2/table.h"
#include "delta.h"

namespace stepguard::avx2 {
namespace {

constexpr int kVectors = 4;
constexpr int64_t kSlice = kVectors * kLanes;

// Columns of part i of a slice of `columns`.
int64_t part(int64_t columns, int i) {
  const int64_t left = columns - i * kLanes;
  return left < 0 ? 0 : least(left, kLanes);
}

// The columns of a head's state, [k_dim][32] here and [k_dim][v_dim] outside; missing columns are
// zero.
void load_state(const float* from, int64_t k_dim, int64_t v_dim, int64_t columns, float* state) {
  for (int64_t r = 0; r < k_dim; ++r, state += kSlice) {
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) {
      const __m256 value = from == nullptr
                               ? _mm256_setzero_ps()
                               : load_part(from + r * v_dim + i * kLanes, part(columns, i));
      _mm256_store_ps(state + i * kLanes, value);
    }
  }
}

void store_state(const float* state, int64_t k_dim, int64_t v_dim, int64_t columns, float* to) {
  for (int64_t r = 0; r < k_dim; ++r, state += kSlice) {
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) {
      store_part(to + r * v_dim + i * kLanes, _mm256_load_ps(state + i * kLanes), part(columns, i));
    }
  }
}

// known = k . S, over even and over odd rows.
void read_known(const float* state, const float* k, int64_t k_dim, __m256 known[kVectors]) {
  __m256 odd[kVectors];
#pragma GCC unroll 4
  for (int i = 0; i < kVectors; ++i) known[i] = odd[i] = _mm256_setzero_ps();
  int64_t r = 0;
  for (; r + 1 < k_dim; r += 2, state += 2 * kSlice) {
    const __m256 first = _mm256_broadcast_ss(k + r);
    const __m256 second = _mm256_broadcast_ss(k + r + 1);
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) {
      known[i] = _mm256_fmadd_ps(first, _mm256_load_ps(state + i * kLanes), known[i]);
      odd[i] = _mm256_fmadd_ps(second, _mm256_load_ps(state + kSlice + i * kLanes), odd[i]);
    }
  }
  if (r < k_dim) {
    const __m256 last = _mm256_broadcast_ss(k + r);
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) {
      known[i] = _mm256_fmadd_ps(last, _mm256_load_ps(state + i * kLanes), known[i]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < kVectors; ++i) known[i] = _mm256_add_ps(known[i], odd[i]);
}

// S = decay S + k delta; out = q . S.
void update(float* state, const float* q, const float* k, int64_t k_dim, __m256 decay,
            const __m256 delta[kVectors], __m256 out[kVectors]) {
#pragma GCC unroll 4
  for (int i = 0; i < kVectors; ++i) out[i] = _mm256_setzero_ps();
  for (int64_t r = 0; r < k_dim; ++r, state += kSlice) {
    const __m256 key = _mm256_broadcast_ss(k + r);
    const __m256 query = _mm256_broadcast_ss(q + r);
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) {
      const __m256 kept = _mm256_mul_ps(decay, _mm256_load_ps(state + i * kLanes));
      const __m256 now = _mm256_fmadd_ps(key, delta[i], kept);
      _mm256_store_ps(state + i * kLanes, now);
      out[i] = _mm256_fmadd_ps(query, now, out[i]);
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
    const __m256 decay = _mm256_broadcast_ss(head.gates + 2 * r);
    const __m256 beta = _mm256_broadcast_ss(head.gates + 2 * r + 1);
    __m256 delta[kVectors];
    __m256 sum[kVectors];
    read_known(state, k, shape.k_dim, delta);
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) {
      const __m256 value = load_part(v + i * kLanes, part(columns, i));
      delta[i] = _mm256_mul_ps(beta, _mm256_fnmadd_ps(decay, delta[i], value));
    }
    update(state, q, k, shape.k_dim, decay, delta, sum);
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) {
      store_part(out + i * kLanes, sum[i], part(columns, i));
    }
  }
}

// out = rms_norm(out) * norm * silu(z), one head of one row.
void gated_norm(const DeltaShape& shape, const float* z, float* out) {
  const int64_t dim = shape.v_dim;
  const __m256 inverse = _mm256_set1_ps(inverse_rms(out, dim, shape.epsilon));
  for (int64_t i = 0; i < dim; i += kLanes) {
    const __m256 normed = _mm256_mul_ps(load_part(out + i, dim - i), inverse);
    const __m256 scaled = _mm256_mul_ps(normed, load_part(shape.norm + i, dim - i));
    store_part(out + i, _mm256_mul_ps(scaled, silu_lanes(load_part(z + i, dim - i))), dim - i);
  }
}

}  // namespace

void delta_rule(const DeltaShape& shape, const DeltaCall& call, int64_t head_begin,
                int64_t head_end) {
  alignas(64) float state[kMaxHeadDim * kSlice];
  for (int64_t h = head_begin; h < head_end; ++h) {
    const DeltaHead head = delta_head(shape, call, h);
    const int64_t first = h * shape.k_dim * shape.v_dim;
    for (int64_t c = 0; c < shape.v_dim; c += kSlice) {
      const int64_t columns = least(kSlice, shape.v_dim - c);
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

}  // namespace stepguard::avx2
