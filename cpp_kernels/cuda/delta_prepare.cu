// What comes before the delta rule: causal convolution over the tokens and SiLU, q and k to unit
// length, the gates of the v heads.
#include "../delta.h"
#include "device.h"

namespace stepguard::cuda {
namespace {

constexpr int kThreads = 128;

// Input of a channel at a row of the segment, or before it: the tail of what came before.
SG_DEVICE float conv_input(const DeltaShape& shape, const DeltaCall& call, int64_t channel,
                           int64_t row) {
  const int64_t before = shape.conv_width - 1;
  if (row >= 0) {
    return call.qkvz[row * (delta_channels(shape) + delta_out_width(shape)) + channel];
  }
  return call.conv_source != nullptr ? call.conv_source[channel * before + before + row] : 0.0F;
}

SG_DEVICE float convolved(const DeltaShape& shape, const DeltaCall& call, int64_t channel,
                          int64_t row) {
  const float* weight = shape.conv_weight + channel * shape.conv_width;
  float sum = 0.0F;
  for (int64_t j = 0; j < shape.conv_width; ++j) {
    sum = fmaf(weight[j], conv_input(shape, call, channel, row - shape.conv_width + 1 + j), sum);
  }
  return silu(sum);
}

// log(1 + e^x) without overflow; NaN stays NaN.
SG_DEVICE double softplus(double x) { return (x > 0.0 ? x : 0.0) + log1p(exp(-fabs(x))); }

// decay and beta of one v head at one row (delta.h).
SG_DEVICE void write_gates(const DeltaShape& shape, const DeltaCall& call, int64_t v_head,
                           int64_t row) {
  const double rate = exp(static_cast<double>(shape.a_log[v_head]));
  const float* b = call.ba + row * 2 * shape.v_heads + v_head;
  const double a = b[shape.v_heads];
  float* gates = call.gates + (v_head * call.rows + row) * 2;
  gates[0] = static_cast<float>(exp(-rate * softplus(a + shape.dt_bias[v_head])));
  gates[1] = static_cast<float>(1.0 / (1.0 + exp(-static_cast<double>(*b))));
}

// One block for one row of one unit.
SG_KERNEL prepare_rows(DeltaShape shape, DeltaCall call, int64_t unit_begin, int64_t units) {
  SG_SHARED float value[kMaxHeadDim];
  SG_SHARED double parts[kThreads];
  const int64_t row = block_index() / units;
  const int64_t index = unit_begin + block_index() % units;
  const DeltaUnit unit = delta_unit(shape, index);
  SG_THREADS(t) {
    double squares = 0.0;
    for (int64_t i = t; i < unit.dim; i += kThreads) {
      value[i] = convolved(shape, call, unit.channel + i, row);
      squares += static_cast<double>(value[i]) * value[i];
    }
    parts[t] = squares;
  }
  if (unit.normed) sum_threads<kThreads>(parts);
  SG_THREADS(t) {
    float* y = delta_rows(shape, call, index) + row * unit.dim;
    const double factor = unit.normed ? unit.scale / sqrt(parts[0] + kDeltaNormEpsilon) : 1.0;
    for (int64_t i = t; i < unit.dim; i += kThreads) {
      y[i] = static_cast<float>(value[i] * factor);
    }
    if (t == 0 && unit.head >= 0) write_gates(shape, call, unit.head, row);
  }
}

// The last inputs of every channel of a unit, once nobody reads the old ones: source and target may
// be the same memory.
SG_KERNEL keep_tails(DeltaShape shape, DeltaCall call, int64_t unit_begin) {
  const DeltaUnit unit = delta_unit(shape, unit_begin + block_index());
  const int64_t before = shape.conv_width - 1;
  SG_THREADS(t) {
    for (int64_t i = t; i < unit.dim; i += kThreads) {
      float tail[kMaxConvWidth];
      for (int64_t j = 0; j < before; ++j) {
        tail[j] = conv_input(shape, call, unit.channel + i, call.rows - before + j);
      }
      for (int64_t j = 0; j < before; ++j) {
        call.conv_target[(unit.channel + i) * before + j] = tail[j];
      }
    }
  }
}

}  // namespace

Problem delta_prepare(Stream stream, const DeltaShape& shape, const DeltaCall& call,
                      int64_t unit_begin, int64_t unit_end) {
  const int64_t units = unit_end - unit_begin;
  const Problem problem =
      launch(prepare_rows, call.rows * units, kThreads, stream, shape, call, unit_begin, units);
  if (problem != nullptr || call.conv_target == nullptr) return problem;
  return launch(keep_tails, units, kThreads, stream, shape, call, unit_begin);
}

}  // namespace stepguard::cuda
