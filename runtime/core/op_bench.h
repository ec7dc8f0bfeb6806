// One operation at one size: compared with the reference first, then timed.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernels.h"
#include "thread_pool.h"

namespace stepguard {

using OpSizes = std::map<std::string, int64_t>;

// What an operation works on: random numbers, in so many copies that weights, pages and states come
// from memory, as they do in a forward pass. `turn` says which copy.
class OpCase {
 public:
  OpCase() = default;
  virtual ~OpCase() = default;
  OpCase(const OpCase&) = delete;
  OpCase& operator=(const OpCase&) = delete;
  virtual void run(const KernelTable& table, ThreadPool& pool, int64_t turn) = 0;

  std::vector<float> out;
  // Of one run: bytes that come from memory, and operations (a multiply-add is two) of that kind,
  // "fp32", "int8" (8 bits by 8) or "int16".
  double bytes = 0.0, operations = 0.0;
  const char* arithmetic = "fp32";
};

// Throws std::invalid_argument for an unknown name, and for a size that is missing or cannot be.
//   linear            rows n k format (0 float32, 1 int8, 2 int4) activations (0, 1)
//                     epilogue (0 none, 1 residual, 2 swiglu)
//   attention         rows context heads kv_heads head_dim half
//   attention_prepare rows heads kv_heads head_dim rotary_dim half
//   delta_prepare, delta_rule  rows k_heads v_heads k_dim v_dim conv_width
//   rms_norm, sigmoid_gate     rows width
//   embed, read_row   rows width (of an 8-bit table)
std::unique_ptr<OpCase> make_op_case(const std::string& op, const OpSizes& sizes);

struct OpRun {
  std::string table;
  double error;    // largest difference from the reference, by the root mean square of that
  double seconds;  // median
};

struct OpReport {
  std::string arithmetic;
  double bytes, operations;
  std::vector<OpRun> runs;
};

// Runs the operation with each table for about `seconds`. A table whose error is above `allowed`
// is not timed: its seconds are 0. Throws std::invalid_argument for an unknown table, too.
OpReport measure_op(const std::string& op, const OpSizes& sizes,
                    const std::vector<std::string>& tables, int threads, double seconds,
                    double allowed);

}  // namespace stepguard
