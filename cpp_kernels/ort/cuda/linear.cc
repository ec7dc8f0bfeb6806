#include "../linear_node.h"
#include "device.h"

namespace stepguard {
namespace {

class Linear {
 public:
  static constexpr const char* name = "Linear";
  static constexpr size_t outputs = 1;
  static const std::vector<Port>& inputs() { return LinearNode::inputs(); }
  Linear(OpContext&, const NodeInfo& node) : node_(node) {}

  void compute(Call& call) const {
    Device& device = *call.context().device;
    const cuda::Table& kernels = device.kernels();
    LinearCall linear = node_.read(call);
    if (linear.rows == 0) return;
    if (linear.weight.format != WeightFormat::kFloat32) {
      linear.activations = call.context().activations;
    }
    const LinearInput input{linear.weight.format, linear.activations, linear.rows, linear.weight.k};
    const auto* x = static_cast<const float*>(linear.packed);
    if (const size_t bytes = kernels.linear_packed_bytes(input); bytes != 0) {
      void* packed = device.scratch(Scratch::kPacked, bytes);
      Device::must(kernels.linear_pack(call.stream(), input, x, packed));
      linear.packed = packed;
    }
    Device::must(kernels.linear(call.stream(), linear, 0, node_.units()));
  }

 private:
  LinearNode node_;
};

}  // namespace

BoundOp bind_device_linear(OpContext& context) { return OpKernel<Linear>::bind(context); }

}  // namespace stepguard
