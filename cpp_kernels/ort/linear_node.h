// A Linear node: its attributes, and its inputs and output checked, for every device.
#pragma once

#include "op.h"

namespace stepguard {

class LinearNode {
 public:
  static const std::vector<Port>& inputs() {
    static const std::vector<Port> ports = {
        {kOrtFloat}, {kOrtAny}, {kOrtFloat16, true}, {kOrtFloat, true}, {kOrtFloat, true}};
    return ports;
  }
  explicit LinearNode(const NodeInfo& node);

  // x [T, k] -> [T, n], or [T, n/2] with SwiGLU. `packed` is x itself.
  LinearCall read(const Call& call) const;

  // Columns of the output, and units of them (kernels.h).
  int64_t width() const { return epilogue_ == Epilogue::kSwiGlu ? n_ / 2 : n_; }
  int64_t units() const { return (width() + kPanel - 1) / kPanel; }

 private:
  LinearWeight weight(const Call& call) const;

  WeightFormat format_;
  Epilogue epilogue_;
  int64_t n_, k_;
};

}  // namespace stepguard
