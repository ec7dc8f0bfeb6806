#include <algorithm>
#include <vector>

#include "../delta.h"
#include "register.h"
#include "segments.h"

namespace stepguard {
namespace {

// Where a segment's state comes from and where its end goes, [S, 2] int32. Both: >= 0 a slot of
// the arenas, -1 nothing (zeros, not kept), v <= -2 the scratch state number -(v + 2).
struct SlotRow {
  int32_t source, target;
};
static_assert(sizeof(SlotRow) == 8, "two int32 a row");

// The rows of one state, in the arena of the graph and in the scratch of the op.
struct States {
  float* arena;
  float* scratch;
  int64_t size;  // floats of a state

  float* at(int32_t slot) const {
    if (slot == -1) return nullptr;
    return slot >= 0 ? arena + slot * size : scratch + (-slot - int64_t{2}) * size;
  }
};

// qkvz [T, channels + v_heads * v_dim], ba [T, 2 * v_heads] -> [T, v_heads * v_dim]; writes the
// slots of the layer that the segments name as targets.
class DeltaNet {
 public:
  static constexpr const char* name = "DeltaNet";
  static constexpr size_t outputs = 1;
  static const std::vector<Port>& inputs() {
    static const std::vector<Port> ports = {{kOrtFloat}, {kOrtFloat}, {kOrtInt32}, {kOrtInt32},
                                            {kOrtFloat}, {kOrtFloat}, {kOrtFloat}, {kOrtFloat},
                                            {kOrtFloat}, {kOrtFloat}};
    return ports;
  }

  DeltaNet(OpContext&, const NodeInfo& node) {
    shape_.k_heads = node.integer("k_heads");
    shape_.v_heads = node.integer("v_heads");
    shape_.k_dim = node.integer("k_dim");
    shape_.v_dim = node.integer("v_dim");
    shape_.conv_width = node.integer("conv_width");
    shape_.epsilon = node.real("epsilon");
    require(shape_.k_heads > 0 && shape_.v_heads > 0 && shape_.v_heads % shape_.k_heads == 0,
            "v_heads", "a multiple of k_heads", shape_.v_heads);
    require(shape_.k_dim > 0 && shape_.k_dim <= kMaxHeadDim, "k_dim",
            "1 to " + std::to_string(kMaxHeadDim), shape_.k_dim);
    require(shape_.v_dim > 0 && shape_.v_dim <= kMaxHeadDim, "v_dim",
            "1 to " + std::to_string(kMaxHeadDim), shape_.v_dim);
    require(shape_.conv_width >= 2 && shape_.conv_width <= kMaxConvWidth, "conv_width",
            "2 to " + std::to_string(kMaxConvWidth), shape_.conv_width);
  }

  void compute(Call& call) const {
    OpContext& context = call.context();
    const DeltaShape shape = read_weights(call);
    const int64_t width = delta_out_width(shape);
    const Tensor qkvz = call.input(0, "qkvz", {-1, delta_channels(shape) + width});
    const int64_t rows = qkvz.shape[0];
    const Tensor ba = call.input(1, "ba", {rows, 2 * shape.v_heads});
    std::vector<DeltaCall> calls = read_calls(call, shape, rows);
    auto* out = static_cast<float*>(call.output(0, {rows, width}));

    auto* qkv = scratch(context, 0, rows * delta_channels(shape));
    auto* gates = scratch(context, 1, rows * 2 * shape.v_heads);
    int64_t first = 0;
    for (DeltaCall& segment : calls) {
      segment.qkvz = qkvz.as<float>() + first * (delta_channels(shape) + width);
      segment.ba = ba.as<float>() + first * 2 * shape.v_heads;
      segment.qkv = qkv + first * delta_channels(shape);
      segment.gates = gates + first * 2 * shape.v_heads;
      segment.out = out + first * width;
      first += segment.rows;
    }
    // A head of a segment needs the same head of its parent only, so each thread runs its heads
    // through all segments in order.
    run(context, context.table->delta_prepare, shape, calls, delta_units(shape));
    run(context, context.table->delta_rule, shape, calls, shape.v_heads);
  }

 private:
  using Part = decltype(KernelTable::delta_rule);

  static void run(OpContext& context, Part part, const DeltaShape& shape,
                  const std::vector<DeltaCall>& calls, int64_t count) {
    context.parallel->for_range(count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        for (const DeltaCall& segment : calls) {
          if (context.cancelled.load(std::memory_order_relaxed)) return;
          part(shape, segment, i, i + 1);
        }
      }
    });
    if (context.cancelled.load(std::memory_order_relaxed)) throw OpError("cancelled");
  }

  static float* scratch(OpContext& context, size_t index, int64_t floats) {
    return static_cast<float*>(context.scratch(index, static_cast<size_t>(floats) * sizeof(float)));
  }

  DeltaShape read_weights(const Call& call) const {
    DeltaShape shape = shape_;
    shape.conv_weight =
        call.input(6, "conv_weight", {delta_channels(shape), shape.conv_width}).as<float>();
    shape.a_log = call.input(7, "a_log", {shape.v_heads}).as<float>();
    shape.dt_bias = call.input(8, "dt_bias", {shape.v_heads}).as<float>();
    shape.norm = call.input(9, "norm", {shape.v_dim}).as<float>();
    return shape;
  }

  // Rows and states of every segment, checked.
  static std::vector<DeltaCall> read_calls(const Call& call, const DeltaShape& shape,
                                           int64_t rows) {
    const Tensor segments = call.input(2, "segments", {-1, 8});
    const int64_t count = segments.shape[0];
    const auto* slots = call.input(3, "slots", {count, 2}).as<SlotRow>();
    const int64_t conv_size = delta_channels(shape) * (shape.conv_width - 1);
    const int64_t delta_size = shape.v_heads * shape.k_dim * shape.v_dim;
    const Tensor conv_arena = call.input(4, "conv_state", {-1, conv_size});
    const Tensor delta_arena = call.input(5, "delta_state", {conv_arena.shape[0], delta_size});
    const int64_t spare = check_slots(slots, count, conv_arena.shape[0]);
    const States conv{static_cast<float*>(conv_arena.data),
                      scratch(call.context(), 2, spare * conv_size), conv_size};
    const States delta{static_cast<float*>(delta_arena.data),
                       scratch(call.context(), 3, spare * delta_size), delta_size};

    std::vector<DeltaCall> calls(static_cast<size_t>(count));
    int64_t next = 0;
    for (int64_t s = 0; s < count; ++s) {
      const SegmentRow& row = segments.as<SegmentRow>()[s];
      require(row.first_row == next && row.rows >= 0, "segments", "rows in order", row.first_row);
      next += row.rows;
      DeltaCall& segment = calls[static_cast<size_t>(s)];
      segment.rows = row.rows;
      segment.conv_source = conv.at(slots[s].source);
      segment.conv_target = conv.at(slots[s].target);
      segment.delta_source = delta.at(slots[s].source);
      segment.delta_target = delta.at(slots[s].target);
    }
    require(next == rows, "segments", std::to_string(rows) + " rows in all", next);
    return calls;
  }

  // How many scratch states the batch uses. A scratch state is read only after an earlier segment
  // wrote it, and there are never more of them than segments.
  static int64_t check_slots(const SlotRow* slots, int64_t count, int64_t arena_slots) {
    std::vector<bool> written(static_cast<size_t>(count));
    int64_t used = 0;
    for (int64_t s = 0; s < count; ++s) {
      const auto [source, target] = slots[s];
      for (const int32_t slot : {source, target}) {
        require(slot < arena_slots, "slots", "slots below " + std::to_string(arena_slots), slot);
        require(-int64_t{slot} - 2 < count, "slots", "scratch states below the segment count",
                slot);
      }
      require(source >= -1 || written[static_cast<size_t>(-source - 2)], "slots",
              "a scratch state that an earlier segment wrote", source);
      if (target > -2) continue;
      written[static_cast<size_t>(-target - 2)] = true;
      used = std::max(used, -int64_t{target} - 1);
    }
    return used;
  }

  DeltaShape shape_;
};

}  // namespace

BoundOp bind_delta_net(OpContext& context) { return OpKernel<DeltaNet>::bind(context); }

}  // namespace stepguard
