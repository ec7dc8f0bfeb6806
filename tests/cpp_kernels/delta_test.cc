// The delta rule of every table against the reference, in buffers that are exactly as large as the
// interface says: under sanitizers a read or write beyond them is found.
#include <cmath>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "kernels.h"
#include "tested_tables.h"

namespace {

using namespace stepguard;

using Floats = std::vector<float>;

int failures = 0;

Floats random_floats(int64_t count) {
  static std::mt19937 engine(7);
  std::normal_distribution<float> normal;
  Floats values(static_cast<size_t>(count));
  for (float& value : values) value = normal(engine);
  return values;
}

void close(const Floats& got, const Floats& wanted, const std::string& what) {
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (std::fabs(got[i] - wanted[i]) <= 1e-4F * (1.0F + std::fabs(wanted[i]))) continue;
    ++failures;
    std::printf("FAILED %s: element %zu is %g, reference %g\n", what.c_str(), i, got[i], wanted[i]);
    return;
  }
}

struct Weights {
  Floats conv, a_log, dt_bias, norm;
};

struct Result {
  Floats out, conv, delta;
};

int64_t channels(const DeltaShape& shape) {
  return 2 * shape.k_heads * shape.k_dim + shape.v_heads * shape.v_dim;
}

// Two segments, the second from the end of the first, in place.
Result run(const KernelTable& table, const DeltaShape& shape, int64_t rows, const Floats& qkvz,
           const Floats& ba) {
  Result result;
  result.conv.resize(static_cast<size_t>(channels(shape) * (shape.conv_width - 1)));
  result.delta.resize(static_cast<size_t>(shape.v_heads * shape.k_dim * shape.v_dim));
  for (const bool second : {false, true}) {
    Floats qkv(static_cast<size_t>(rows * channels(shape)));
    Floats gates(static_cast<size_t>(rows * shape.v_heads * 2));
    Floats out(static_cast<size_t>(rows * shape.v_heads * shape.v_dim));
    DeltaCall call;
    call.rows = rows;
    call.qkvz = qkvz.data();
    call.ba = ba.data();
    call.conv_source = second ? result.conv.data() : nullptr;
    call.delta_source = second ? result.delta.data() : nullptr;
    call.conv_target = result.conv.data();
    call.delta_target = result.delta.data();
    call.qkv = qkv.data();
    call.gates = gates.data();
    call.out = out.data();
    table.delta_prepare(shape, call, 0, 2 * shape.k_heads + shape.v_heads);
    table.delta_rule(shape, call, 0, shape.v_heads);
    result.out = out;
  }
  return result;
}

void test_delta(const KernelTable& table, const KernelTable& reference) {
  for (const int64_t k_dim : {1, 4, 33, 256}) {
    for (const int64_t v_dim : {1, 8, 37, 256}) {
      DeltaShape shape;
      shape.k_heads = 2;
      shape.v_heads = 4;
      shape.k_dim = k_dim;
      shape.v_dim = v_dim;
      shape.conv_width = 2 + v_dim % 7;
      shape.epsilon = 0.1F;  // keeps outputs near zero comparable
      const Weights weights{random_floats(channels(shape) * shape.conv_width), random_floats(4),
                            random_floats(4), random_floats(v_dim)};
      shape.conv_weight = weights.conv.data();
      shape.a_log = weights.a_log.data();
      shape.dt_bias = weights.dt_bias.data();
      shape.norm = weights.norm.data();
      for (const int64_t rows : {0, 1, 2, 9}) {
        const Floats qkvz = random_floats(rows * (channels(shape) + 4 * v_dim));
        const Floats ba = random_floats(rows * 8);
        const Result got = run(table, shape, rows, qkvz, ba);
        const Result wanted = run(reference, shape, rows, qkvz, ba);
        const std::string what = std::string(table.name) + " delta " + std::to_string(k_dim) + "x" +
                                 std::to_string(v_dim) + " rows " + std::to_string(rows);
        close(got.out, wanted.out, what);
        close(got.conv, wanted.conv, what + " tail");
        close(got.delta, wanted.delta, what + " state");
      }
    }
  }
}

void test_sigmoid_gate(const KernelTable& table, const KernelTable& reference) {
  for (const int64_t width : {1, 8, 13}) {
    const Floats gate = random_floats(2 * (width + 1) + width);
    Floats got = random_floats(2 * (width + 3) + width);
    Floats wanted = got;
    table.sigmoid_gate(gate.data(), width + 1, 3, width, got.data(), width + 3);
    reference.sigmoid_gate(gate.data(), width + 1, 3, width, wanted.data(), width + 3);
    close(got, wanted, std::string(table.name) + " gate " + std::to_string(width));
  }
}

}  // namespace

namespace stepguard {

int run_delta_tests(const Tables& tables) {
  for (const KernelTable* table : tables) {
    test_delta(*table, *tables.back());
    test_sigmoid_gate(*table, *tables.back());
  }
  return failures;
}

}  // namespace stepguard
