#include "delta.h"

#include <cmath>

namespace stepguard {
namespace {

// log(1 + e^x) without overflow; NaN stays NaN.
double softplus(double x) { return (x > 0.0 ? x : 0.0) + std::log1p(std::exp(-std::fabs(x))); }

}  // namespace

void delta_gates(const DeltaShape& shape, const DeltaCall& call, int64_t v_head) {
  const double rate = std::exp(double{shape.a_log[v_head]});
  const double bias = shape.dt_bias[v_head];
  float* gates = call.gates + v_head * call.rows * 2;
  for (int64_t r = 0; r < call.rows; ++r) {
    const float* b = call.ba + r * 2 * shape.v_heads + v_head;
    const double a = b[shape.v_heads];
    gates[2 * r] = static_cast<float>(std::exp(-rate * softplus(a + bias)));
    gates[2 * r + 1] = static_cast<float>(1.0 / (1.0 + std::exp(-double{*b})));
  }
}

}  // namespace stepguard
