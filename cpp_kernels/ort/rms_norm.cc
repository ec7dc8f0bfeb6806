#include "register.h"

namespace stepguard {
namespace {

// x [T, H], weight [H] -> [T, H].
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
    OpContext& context = call.context();
    const Tensor x = call.input(0, "x", {-1, -1});
    const int64_t rows = x.shape[0], width = x.shape[1];
    const Tensor weight = call.input(1, "weight", {width});
    auto* y = static_cast<float*>(call.output(0, {rows, width}));
    context.parallel->for_range(rows, 16, [&](int64_t begin, int64_t end) {
      context.table->rms_norm(x.as<float>() + begin * width, weight.as<float>(), epsilon_, offset_,
                              end - begin, width, y + begin * width);
    });
  }

 private:
  float epsilon_, offset_;
};

}  // namespace

BoundOp bind_rms_norm(OpContext& context) { return OpKernel<RmsNorm>::bind(context); }

}  // namespace stepguard
