// The operations that `bench kernels` runs, one file each, and what they share: sizes that are
// checked, random numbers, and how often what an operation reads is there.
#pragma once

#include "op_bench.h"

namespace stepguard {

// A cache line, so that operands lie as those of a model do.
struct alignas(64) Line {
  uint8_t bytes[64];
};

// Random numbers, the same ones every time.
class Random {
 public:
  uint32_t bits() {
    state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<uint32_t>(state_ >> 32);
  }
  // From -1 to 1.
  float real() { return static_cast<float>(bits()) * 0x1p-31F - 1.0F; }
  std::vector<float> reals(int64_t count, float size = 1.0F, float middle = 0.0F) {
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = middle + size * real();
    return values;
  }

 private:
  uint64_t state_ = 88172645463325252ULL;
};

// A size by its name. Throws std::invalid_argument when it is missing or out of bounds.
int64_t size_of(const OpSizes& sizes, const std::string& name, int64_t least = 1,
                int64_t most = int64_t{1} << 20);

// How many copies of that many bytes no cache holds.
int64_t copies_of(double bytes);

inline int64_t ceiling(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Throw as make_op_case does.
std::unique_ptr<OpCase> make_linear_case(const OpSizes& sizes);
std::unique_ptr<OpCase> make_attention_case(const OpSizes& sizes);
std::unique_ptr<OpCase> make_attention_prepare_case(const OpSizes& sizes);
std::unique_ptr<OpCase> make_delta_prepare_case(const OpSizes& sizes);
std::unique_ptr<OpCase> make_delta_rule_case(const OpSizes& sizes);
std::unique_ptr<OpCase> make_rows_case(const std::string& op, const OpSizes& sizes);

}  // namespace stepguard
