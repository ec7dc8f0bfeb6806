#include "delta_node.h"
#include "register.h"

namespace stepguard {
namespace {

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

  DeltaNet(OpContext&, const NodeInfo& node) : node_(node) {}

  void compute(Call& call) const {
    OpContext& context = call.context();
    const DeltaShape shape = node_.shape(call);
    std::vector<DeltaCall> calls = DeltaNode::read(call, shape);
    int64_t rows = 0;
    for (const DeltaCall& segment : calls) rows += segment.rows;
    auto* qkv = scratch(context, 0, rows * delta_channels(shape));
    auto* gates = scratch(context, 1, rows * 2 * shape.v_heads);
    for (DeltaCall& segment : calls) {
      segment.qkv = qkv;
      segment.gates = gates;
      qkv += segment.rows * delta_channels(shape);
      gates += segment.rows * 2 * shape.v_heads;
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

  DeltaNode node_;
};

}  // namespace

BoundOp bind_delta_net(OpContext& context) { return OpKernel<DeltaNet>::bind(context); }

}  // namespace stepguard
