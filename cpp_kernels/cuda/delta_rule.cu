// The gated delta rule, token by token, with the state in registers: a block has 32 columns of the
// state of one v head, a thread one column and every eighth row of it. Columns need nothing of each
// other but for the norm, which comes after.
#include "../delta.h"
#include "device.h"

namespace stepguard::cuda {
namespace {

constexpr int kColumns = 32;
constexpr int kParts = 8;  // of a column
constexpr int kThreads = kColumns * kParts;
constexpr int kEach = kMaxHeadDim / kParts;  // rows of a thread, kParts apart
static_assert(kThreads >= kMaxHeadDim, "a thread for every element of q and k");

struct StatePart {
  float of[kEach];
};

SG_DEVICE float sum_parts(const float (*parts)[kColumns], int column) {
  float sum = parts[0][column];
  for (int p = 1; p < kParts; ++p) sum += parts[p][column];
  return sum;
}

SG_KERNEL run_columns(DeltaShape shape, DeltaCall call, int64_t head_begin) {
  SG_SHARED float q[kMaxHeadDim], k[kMaxHeadDim];
  SG_SHARED float known[kParts][kColumns], out[kParts][kColumns];
  PerThread<StatePart> state;
  const int64_t tiles = (shape.v_dim + kColumns - 1) / kColumns;
  const int64_t v_head = head_begin + block_index() / tiles;
  const int64_t first = block_index() % tiles * kColumns;
  const DeltaHead head = delta_head(shape, call, v_head);
  const int64_t states = v_head * shape.k_dim * shape.v_dim;
  SG_THREADS(t) {
    const int64_t column = first + t % kColumns;
    SG_UNROLL
    for (int e = 0; e < kEach; ++e) {
      const int64_t i = t / kColumns + e * kParts;
      const bool there = i < shape.k_dim && column < shape.v_dim && call.delta_source != nullptr;
      state[t].of[e] = there ? call.delta_source[states + i * shape.v_dim + column] : 0.0F;
    }
  }
  for (int64_t r = 0; r < call.rows; ++r) {
    SG_THREADS(t) {
      if (t >= shape.k_dim) continue;
      q[t] = head.q[r * shape.k_dim + t];
      k[t] = head.k[r * shape.k_dim + t];
    }
    const float decay = head.gates[2 * r], beta = head.gates[2 * r + 1];
    SG_THREADS(t) {
      float sum = 0.0F;
      SG_UNROLL
      for (int e = 0; e < kEach; ++e) {
        const int64_t i = t / kColumns + e * kParts;
        if (i >= shape.k_dim) continue;
        state[t].of[e] *= decay;
        sum = fmaf(k[i], state[t].of[e], sum);
      }
      known[t / kColumns][t % kColumns] = sum;
    }
    SG_THREADS(t) {
      const int64_t column = first + t % kColumns;
      const float v = column < shape.v_dim ? head.v[r * shape.v_dim + column] : 0.0F;
      const float delta = (v - sum_parts(known, t % kColumns)) * beta;
      float sum = 0.0F;
      SG_UNROLL
      for (int e = 0; e < kEach; ++e) {
        const int64_t i = t / kColumns + e * kParts;
        if (i >= shape.k_dim) continue;
        state[t].of[e] = fmaf(k[i], delta, state[t].of[e]);
        sum = fmaf(q[i], state[t].of[e], sum);
      }
      out[t / kColumns][t % kColumns] = sum;
    }
    SG_THREADS(t) {
      const int64_t column = first + t;
      if (t >= kColumns || column >= shape.v_dim) continue;
      head.out[r * head.out_stride + column] = sum_parts(out, t);
    }
  }
  if (call.delta_target == nullptr) return;
  SG_THREADS(t) {
    const int64_t column = first + t % kColumns;
    SG_UNROLL
    for (int e = 0; e < kEach; ++e) {
      const int64_t i = t / kColumns + e * kParts;
      if (i >= shape.k_dim || column >= shape.v_dim) continue;
      call.delta_target[states + i * shape.v_dim + column] = state[t].of[e];
    }
  }
}

constexpr int kNormThreads = 128;

// out = rms_norm(out) * w * silu(z), a block for one head of one row.
SG_KERNEL norm_heads(DeltaShape shape, DeltaCall call, int64_t head_begin, int64_t heads) {
  SG_SHARED double parts[kNormThreads];
  const int64_t row = block_index() / heads;
  const DeltaHead head = delta_head(shape, call, head_begin + block_index() % heads);
  float* x = head.out + row * head.out_stride;
  const float* z = head.z + row * head.z_stride;
  SG_THREADS(t) {
    double squares = 0.0;
    for (int64_t i = t; i < shape.v_dim; i += kNormThreads) {
      squares += static_cast<double>(x[i]) * x[i];
    }
    parts[t] = squares;
  }
  sum_threads<kNormThreads>(parts);
  SG_THREADS(t) {
    const double mean = parts[0] / static_cast<double>(shape.v_dim);
    const double inverse = 1.0 / sqrt(mean + shape.epsilon);
    for (int64_t i = t; i < shape.v_dim; i += kNormThreads) {
      x[i] = static_cast<float>(x[i] * inverse) * shape.norm[i] * silu(z[i]);
    }
  }
}

}  // namespace

Problem delta_rule(Stream stream, const DeltaShape& shape, const DeltaCall& call,
                   int64_t head_begin, int64_t head_end) {
  const int64_t heads = head_end - head_begin;
  const int64_t tiles = (shape.v_dim + kColumns - 1) / kColumns;
  const Problem problem =
      launch(run_columns, heads * tiles, kThreads, stream, shape, call, head_begin);
  if (problem != nullptr) return problem;
  return launch(norm_heads, call.rows * heads, kNormThreads, stream, shape, call, head_begin,
                heads);
}

}  // namespace stepguard::cuda
