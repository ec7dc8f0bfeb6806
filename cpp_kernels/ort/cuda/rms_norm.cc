#include "device.h"

namespace stepguard {
namespace {

class RmsNorm {
 public:
  static constexpr const char* name = "RmsNorm";
  static constexpr size_t outputs = 1;
  static const std::vector<Port>& inputs() {
    static const std::vector<Port> ports = {{kOrtFloat}, {kOrtFloat}};
    return ports;
  }
  RmsNorm(OpContext&, const NodeInfo& node)
      : epsilon_(node.real("epsilon")), offset_(node.real("offset")) {}

  void compute(Call& call) const {
    const Tensor x = call.input(0, "x", {-1, -1});
    const int64_t rows = x.shape[0], width = x.shape[1];
    const Tensor weight = call.input(1, "weight", {width});
    auto* y = static_cast<float*>(call.output(0, {rows, width}));
    Device::must(call.context().device->kernels().rms_norm(
        call.stream(), x.as<float>(), weight.as<float>(), epsilon_, offset_, rows, width, y));
  }

 private:
  float epsilon_, offset_;
};

}  // namespace

BoundOp bind_device_rms_norm(OpContext& context) { return OpKernel<RmsNorm>::bind(context); }

}  // namespace stepguard
