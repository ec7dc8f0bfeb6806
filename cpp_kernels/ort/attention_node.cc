#include "attention_node.h"

namespace stepguard {

AttentionNode::AttentionNode(const NodeInfo& node) {
  shape_.heads = node.integer("heads");
  shape_.kv_heads = node.integer("kv_heads");
  shape_.head_dim = node.integer("head_dim");
  shape_.rotary_dim = node.integer("rotary_dim");
  shape_.scale = node.real("scale");
  shape_.epsilon = node.real("epsilon");
  shape_.norm_offset = node.real("norm_offset");
  require(shape_.kv_heads > 0 && shape_.heads > 0 && shape_.heads % shape_.kv_heads == 0, "heads",
          "a multiple of kv_heads", shape_.heads);
  // Products of the sizes below must stay far from the end of int64.
  require(shape_.heads <= 65536, "heads", "at most 65536", shape_.heads);
  require(shape_.head_dim > 0 && shape_.head_dim <= kMaxHeadDim, "head_dim", "1 to 256",
          shape_.head_dim);
  require(
      shape_.rotary_dim >= 0 && shape_.rotary_dim <= shape_.head_dim && shape_.rotary_dim % 2 == 0,
      "rotary_dim", "an even size up to head_dim", shape_.rotary_dim);
  const int64_t gate = node.integer("gate");
  require(gate == 0 || gate == 1, "gate", "0 or 1", gate);
  gated_ = gate == 1;
}

AttentionShape AttentionNode::shape(const Call& call, bool kv_half) const {
  AttentionShape shape = shape_;
  shape.kv_half = kv_half;
  const int64_t dim = shape.head_dim;
  if (call.input(6).present()) shape.q_norm = call.input(6, "q_norm", {dim}).as<float>();
  if (call.input(7).present()) shape.k_norm = call.input(7, "k_norm", {dim}).as<float>();
  return shape;
}

}  // namespace stepguard
