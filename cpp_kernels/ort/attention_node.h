// An Attention node: its attributes, checked, for every device.
#pragma once

#include "op.h"

namespace stepguard {

// qkv [T, (heads + 2 kv_heads) * head_dim] -> [T, heads * head_dim]; writes the layer's pages. With
// an output gate, heads * head_dim columns of gate follow in the rows of qkv. With `reads` [M] only
// these rows are computed, [M, heads * head_dim]: of the others a last layer needs keys and values.
class AttentionNode {
 public:
  explicit AttentionNode(const NodeInfo& node);

  // With the norms of the node's inputs.
  AttentionShape shape(const Call& call, bool kv_half) const;
  bool gated() const { return gated_; }

  // Columns of qkv before the gate, of a whole row, and of the output.
  int64_t gate_column() const { return (shape_.heads + 2 * shape_.kv_heads) * shape_.head_dim; }
  int64_t row_width() const { return gate_column() + (gated_ ? out_width() : 0); }
  int64_t out_width() const { return shape_.heads * shape_.head_dim; }
  int64_t half() const { return shape_.rotary_dim / 2; }

 private:
  AttentionShape shape_;
  bool gated_ = false;
};

}  // namespace stepguard
