#include "linear_node.h"
#include "register.h"

namespace stepguard {
namespace {

class Linear {
 public:
  static constexpr const char* name = "Linear";
  static constexpr size_t outputs = 1;
  static const std::vector<Port>& inputs() { return LinearNode::inputs(); }
  Linear(OpContext&, const NodeInfo& node) : node_(node) {}

  void compute(Call& call) const {
    OpContext& context = call.context();
    const KernelTable& table = *context.table;
    LinearCall linear = node_.read(call);
    if (linear.rows == 0) return;

    const auto* x = static_cast<const float*>(linear.packed);
    if (linear.weight.format != WeightFormat::kFloat32) linear.activations = context.activations;
    const LinearInput input{linear.weight.format, linear.activations, linear.rows, linear.weight.k};
    void* packed = context.scratch(0, table.linear_packed_bytes(input));
    context.parallel->for_range(table.linear_blocks(input), 4, [&](int64_t begin, int64_t end) {
      table.linear_pack(input, x, begin, end, packed);
    });
    linear.packed = packed;
    context.parallel->for_range(node_.units(), 2, [&](int64_t begin, int64_t end) {
      if (context.cancelled.load(std::memory_order_relaxed)) return;
      table.linear(linear, begin, end);
    });
    if (context.cancelled.load(std::memory_order_relaxed)) throw OpError("cancelled");
  }

 private:
  LinearNode node_;
};

}  // namespace

BoundOp bind_linear(OpContext& context) { return OpKernel<Linear>::bind(context); }

}  // namespace stepguard
