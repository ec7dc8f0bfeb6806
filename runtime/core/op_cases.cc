#include "op_cases.h"

#include <algorithm>
#include <stdexcept>

namespace stepguard {
namespace {

constexpr double kNoCacheHolds = 128e6;  // bytes of all copies together
constexpr int64_t kMostCopies = 64;

}  // namespace

int64_t size_of(const OpSizes& sizes, const std::string& name, int64_t least, int64_t most) {
  const auto found = sizes.find(name);
  if (found == sizes.end()) throw std::invalid_argument("sizes: " + name + " is missing");
  if (found->second < least || found->second > most) {
    throw std::invalid_argument("sizes: " + name + ": expected " + std::to_string(least) + " to " +
                                std::to_string(most) + ", got " + std::to_string(found->second));
  }
  return found->second;
}

int64_t copies_of(double bytes) {
  return std::clamp(static_cast<int64_t>(kNoCacheHolds / bytes), int64_t{1}, kMostCopies);
}

std::unique_ptr<OpCase> make_op_case(const std::string& op, const OpSizes& sizes) {
  if (op == "linear") return make_linear_case(sizes);
  if (op == "attention") return make_attention_case(sizes);
  if (op == "attention_prepare") return make_attention_prepare_case(sizes);
  if (op == "delta_prepare") return make_delta_prepare_case(sizes);
  if (op == "delta_rule") return make_delta_rule_case(sizes);
  for (const char* name : {"rms_norm", "sigmoid_gate", "embed", "read_row"}) {
    if (op == name) return make_rows_case(op, sizes);
  }
  throw std::invalid_argument("op: unknown name " + op);
}

}  // namespace stepguard
