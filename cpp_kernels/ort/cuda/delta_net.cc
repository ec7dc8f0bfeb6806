#include "../delta_node.h"
#include "device.h"

namespace stepguard {
namespace {

class DeltaNet {
 public:
  static constexpr const char* name = "DeltaNet";
  static constexpr size_t outputs = 1;
  static const std::vector<Port>& inputs() {
    static const std::vector<Port> ports = {{kOrtFloat},
                                            {kOrtFloat},
                                            {kOrtInt32, false, true},
                                            {kOrtInt32, false, true},
                                            {kOrtFloat},
                                            {kOrtFloat},
                                            {kOrtFloat},
                                            {kOrtFloat},
                                            {kOrtFloat},
                                            {kOrtFloat}};
    return ports;
  }
  DeltaNet(OpContext&, const NodeInfo& node) : node_(node) {}

  // Segment after segment: a child begins where its parent ends.
  void compute(Call& call) const {
    Device& device = *call.context().device;
    const cuda::Table& kernels = device.kernels();
    const DeltaShape shape = node_.shape(call);
    std::vector<DeltaCall> calls = DeltaNode::read(call, shape);
    int64_t most = 0;
    for (const DeltaCall& segment : calls) most = segment.rows > most ? segment.rows : most;
    auto* qkv = device.scratch<float>(Scratch::kQkv, most * delta_channels(shape));
    auto* gates = device.scratch<float>(Scratch::kGates, most * 2 * shape.v_heads);
    for (DeltaCall& segment : calls) {
      segment.qkv = qkv;
      segment.gates = gates;
      Device::must(kernels.delta_prepare(call.stream(), shape, segment, 0, delta_units(shape)));
      Device::must(kernels.delta_rule(call.stream(), shape, segment, 0, shape.v_heads));
    }
  }

 private:
  DeltaNode node_;
};

}  // namespace

BoundOp bind_device_delta_net(OpContext& context) { return OpKernel<DeltaNet>::bind(context); }

}  // namespace stepguard
