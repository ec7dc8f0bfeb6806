#include <cmath>

#include "delta.h"
#include "reference/table.h"

namespace stepguard::reference {
namespace {

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

// Convolution over tokens and SiLU of one channel into y[row * y_stride]; then its last width-1
// inputs go to the target.
void convolve(const DeltaShape& shape, const DeltaCall& call, int64_t channel, float* y,
              int64_t y_stride) {
  const int64_t before = shape.conv_width - 1;
  const int64_t stride = delta_channels(shape) + delta_out_width(shape);
  const float* weight = shape.conv_weight + channel * shape.conv_width;
  float tail[kMaxConvWidth] = {};
  for (int64_t i = 0; i < before && call.conv_source != nullptr; ++i) {
    tail[i] = call.conv_source[channel * before + i];
  }
  const auto input = [&](int64_t row) {
    return row < 0 ? tail[row + before] : call.qkvz[row * stride + channel];
  };
  for (int64_t r = 0; r < call.rows; ++r) {
    double sum = 0.0;
    for (int64_t j = 0; j <= before; ++j) sum += double{weight[j]} * input(r - before + j);
    y[r * y_stride] = static_cast<float>(sum * sigmoid(sum));
  }
  for (int64_t i = 0; i < before && call.conv_target != nullptr; ++i) {
    call.conv_target[channel * before + i] = input(call.rows - before + i);
  }
}

void normalise(float* x, int64_t dim, double scale) {
  double squares = 0.0;
  for (int64_t i = 0; i < dim; ++i) squares += double{x[i]} * x[i];
  const double factor = scale / std::sqrt(squares + kDeltaNormEpsilon);
  for (int64_t i = 0; i < dim; ++i) x[i] = static_cast<float>(x[i] * factor);
}

// One column of a head's state [k_dim], over all rows of the segment. The state is float32 between
// two tokens, so that it may be handed over at any border.
void run_column(const DeltaShape& shape, const DeltaHead& head, int64_t rows, int64_t column,
                float* state) {
  for (int64_t r = 0; r < rows; ++r) {
    const float* q = head.q + r * shape.k_dim;
    const float* k = head.k + r * shape.k_dim;
    const double decay = head.gates[2 * r];
    double known = 0.0;
    for (int64_t i = 0; i < shape.k_dim; ++i) known += k[i] * (state[i] * decay);
    const double delta = (head.v[r * shape.v_dim + column] - known) * head.gates[2 * r + 1];
    double out = 0.0;
    for (int64_t i = 0; i < shape.k_dim; ++i) {
      state[i] = static_cast<float>(state[i] * decay + k[i] * delta);
      out += double{q[i]} * state[i];
    }
    head.out[r * head.out_stride + column] = static_cast<float>(out);
  }
}

// out = rms_norm(out) * w * silu(z) for one head of one row.
void gated_norm(const DeltaShape& shape, const float* z, float* out) {
  double squares = 0.0;
  for (int64_t i = 0; i < shape.v_dim; ++i) squares += double{out[i]} * out[i];
  const double inverse =
      1.0 / std::sqrt(squares / static_cast<double>(shape.v_dim) + shape.epsilon);
  for (int64_t i = 0; i < shape.v_dim; ++i) {
    out[i] = static_cast<float>(out[i] * inverse * shape.norm[i] * (z[i] * sigmoid(z[i])));
  }
}

}  // namespace

void sigmoid_gate(const float* gate, int64_t gate_stride, int64_t rows, int64_t width, float* x,
                  int64_t stride) {
  for (int64_t r = 0; r < rows; ++r, gate += gate_stride, x += stride) {
    for (int64_t i = 0; i < width; ++i) x[i] = static_cast<float>(x[i] * sigmoid(gate[i]));
  }
}

void delta_prepare(const DeltaShape& shape, const DeltaCall& call, int64_t unit_begin,
                   int64_t unit_end) {
  for (int64_t u = unit_begin; u < unit_end; ++u) {
    const DeltaUnit unit = delta_unit(shape, u);
    float* y = delta_rows(shape, call, u);
    for (int64_t i = 0; i < unit.dim; ++i) convolve(shape, call, unit.channel + i, y + i, unit.dim);
    for (int64_t r = 0; unit.normed && r < call.rows; ++r) {
      normalise(y + r * unit.dim, unit.dim, unit.scale);
    }
    if (unit.head >= 0) delta_gates(shape, call, unit.head);
  }
}

void delta_rule(const DeltaShape& shape, const DeltaCall& call, int64_t head_begin,
                int64_t head_end) {
  for (int64_t h = head_begin; h < head_end; ++h) {
    const DeltaHead head = delta_head(shape, call, h);
    const int64_t first = h * shape.k_dim * shape.v_dim;
    for (int64_t c = 0; c < shape.v_dim; ++c) {
      float state[kMaxHeadDim] = {};
      for (int64_t i = 0; i < shape.k_dim && call.delta_source != nullptr; ++i) {
        state[i] = call.delta_source[first + i * shape.v_dim + c];
      }
      run_column(shape, head, call.rows, c, state);
      for (int64_t i = 0; i < shape.k_dim && call.delta_target != nullptr; ++i) {
        call.delta_target[first + i * shape.v_dim + c] = state[i];
      }
    }
    for (int64_t r = 0; r < call.rows; ++r) {
      gated_norm(shape, head.z + r * head.z_stride, head.out + r * head.out_stride);
    }
  }
}

}  // namespace stepguard::reference
