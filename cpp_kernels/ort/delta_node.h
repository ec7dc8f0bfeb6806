// A DeltaNet node: its attributes, and its inputs checked, for every device.
#pragma once

#include <vector>

#include "../delta.h"
#include "segments.h"

namespace stepguard {

// qkvz [T, channels + v_heads * v_dim], ba [T, 2 * v_heads] -> [T, v_heads * v_dim]; writes the
// slots of the layer that the segments name as targets.
class DeltaNode {
 public:
  explicit DeltaNode(const NodeInfo& node);

  // With the weights of the node's inputs.
  DeltaShape shape(const Call& call) const;

  // A call for every segment: its rows of inputs and output, and its states. Neither qkv nor gates.
  static std::vector<DeltaCall> read(const Call& call, const DeltaShape& shape);

 private:
  DeltaShape shape_;
};

}  // namespace stepguard
