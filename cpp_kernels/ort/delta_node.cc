#include "delta_node.h"

namespace stepguard {
namespace {

// Where a segment's state comes from and where its end goes, [S, 2] int32: a slot of the arenas, or
// -1 for nothing (zeros; not kept).
struct SlotRow {
  int32_t source, target;
};
static_assert(sizeof(SlotRow) == 8, "two int32 a row");

// Rows and states of every segment, checked.
std::vector<DeltaCall> read_calls(const Call& call, const DeltaShape& shape, int64_t rows) {
  const Tensor segments = call.input(2, "segments", {-1, 8});
  const int64_t count = segments.shape[0];
  const auto* slots = call.input(3, "slots", {count, 2}).as<SlotRow>();
  const int64_t conv_size = delta_channels(shape) * (shape.conv_width - 1);
  const int64_t delta_size = shape.v_heads * shape.k_dim * shape.v_dim;
  const Tensor conv_arena = call.input(4, "conv_state", {-1, conv_size});
  const Tensor delta_arena = call.input(5, "delta_state", {conv_arena.shape[0], delta_size});
  const auto at = [](const Tensor& arena, int64_t size, int32_t slot) {
    return slot >= 0 ? static_cast<float*>(arena.data) + slot * size : nullptr;
  };

  std::vector<DeltaCall> calls(static_cast<size_t>(count));
  int64_t next = 0;
  for (int64_t s = 0; s < count; ++s) {
    const SegmentRow& row = segments.as<SegmentRow>()[s];
    require(row.first_row == next && row.rows >= 0, "segments", "rows in order", row.first_row);
    next += row.rows;
    const auto [source, target] = slots[s];
    for (const int32_t slot : {source, target}) {
      require(slot >= -1 && slot < conv_arena.shape[0], "slots",
              "-1 or slots below " + std::to_string(conv_arena.shape[0]), slot);
    }
    DeltaCall& segment = calls[static_cast<size_t>(s)];
    segment.rows = row.rows;
    segment.conv_source = at(conv_arena, conv_size, source);
    segment.conv_target = at(conv_arena, conv_size, target);
    segment.delta_source = at(delta_arena, delta_size, source);
    segment.delta_target = at(delta_arena, delta_size, target);
  }
  require(next == rows, "segments", std::to_string(rows) + " rows in all", next);
  return calls;
}

}  // namespace

DeltaNode::DeltaNode(const NodeInfo& node) {
  shape_.k_heads = node.integer("k_heads");
  shape_.v_heads = node.integer("v_heads");
  shape_.k_dim = node.integer("k_dim");
  shape_.v_dim = node.integer("v_dim");
  shape_.conv_width = node.integer("conv_width");
  shape_.epsilon = node.real("epsilon");
  require(shape_.k_heads > 0 && shape_.v_heads > 0 && shape_.v_heads % shape_.k_heads == 0,
          "v_heads", "a multiple of k_heads", shape_.v_heads);
  require(shape_.v_heads <= 65536, "v_heads", "at most 65536", shape_.v_heads);
  require(shape_.k_dim > 0 && shape_.k_dim <= kMaxHeadDim, "k_dim",
          "1 to " + std::to_string(kMaxHeadDim), shape_.k_dim);
  require(shape_.v_dim > 0 && shape_.v_dim <= kMaxHeadDim, "v_dim",
          "1 to " + std::to_string(kMaxHeadDim), shape_.v_dim);
  require(shape_.conv_width >= 2 && shape_.conv_width <= kMaxConvWidth, "conv_width",
          "2 to " + std::to_string(kMaxConvWidth), shape_.conv_width);
}

DeltaShape DeltaNode::shape(const Call& call) const {
  DeltaShape shape = shape_;
  shape.conv_weight =
      call.input(6, "conv_weight", {delta_channels(shape), shape.conv_width}).as<float>();
  shape.a_log = call.input(7, "a_log", {shape.v_heads}).as<float>();
  shape.dt_bias = call.input(8, "dt_bias", {shape.v_heads}).as<float>();
  shape.norm = call.input(9, "norm", {shape.v_dim}).as<float>();
  return shape;
}

std::vector<DeltaCall> DeltaNode::read(const Call& call, const DeltaShape& shape) {
  const int64_t width = delta_out_width(shape), row = delta_channels(shape) + width;
  const Tensor qkvz = call.input(0, "qkvz", {-1, row});
  const int64_t rows = qkvz.shape[0];
  const Tensor ba = call.input(1, "ba", {rows, 2 * shape.v_heads});
  std::vector<DeltaCall> calls = read_calls(call, shape, rows);
  auto* out = static_cast<float*>(call.output(0, {rows, width}));
  int64_t first = 0;
  for (DeltaCall& segment : calls) {
    segment.qkvz = qkvz.as<float>() + first * row;
    segment.ba = ba.as<float>() + first * 2 * shape.v_heads;
    segment.out = out + first * width;
    first += segment.rows;
  }
  return calls;
}

}  // namespace stepguard
