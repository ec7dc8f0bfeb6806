#include "../table.h"
#include "device.h"

namespace stepguard {
namespace {

class Embed {
 public:
  static constexpr const char* name = "Embed";
  static constexpr size_t outputs = 1;
  static const std::vector<Port>& inputs() {
    static const std::vector<Port> ports = {
        {kOrtInt32, false, true}, {kOrtAny}, {kOrtFloat16, true}};
    return ports;
  }
  Embed(OpContext&, const NodeInfo&) {}

  void compute(Call& call) const {
    Device& device = *call.context().device;
    const Tensor ids = call.input(0, "ids", {-1});
    int64_t width = -1;
    const Table table = read_table(call, 1, 2, width);
    const int64_t rows = ids.shape[0];
    const auto* id = ids.as<int32_t>();
    for (int64_t r = 0; r < rows; ++r) {
      require(id[r] >= 0 && id[r] < table.rows, "ids",
              "token ids below " + std::to_string(table.rows), id[r]);
    }
    auto* y = static_cast<float*>(call.output(0, {rows, width}));
    const int32_t* uploaded = device.upload(call.stream(), Scratch::kIds, id, rows);
    const cuda::TableRows from{table.data, table.scales, width};
    Device::must(device.kernels().embed(call.stream(), uploaded, rows, from, y));
  }
};

}  // namespace

BoundOp bind_device_embed(OpContext& context) { return OpKernel<Embed>::bind(context); }

}  // namespace stepguard
