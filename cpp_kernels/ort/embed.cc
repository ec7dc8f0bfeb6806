#include "register.h"
#include "table.h"

namespace stepguard {
namespace {

// ids [T] -> rows [T, H].
class Embed {
 public:
  static constexpr const char* name = "Embed";
  static constexpr size_t outputs = 1;
  static const std::vector<Port>& inputs() {
    static const std::vector<Port> ports = {{kOrtInt32}, {kOrtAny}, {kOrtFloat16, true}};
    return ports;
  }
  Embed(OpContext&, const NodeInfo&) {}

  void compute(Call& call) const {
    OpContext& context = call.context();
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
    context.parallel->for_range(rows, 32, [&](int64_t begin, int64_t end) {
      context.table->embed(id + begin, end - begin, table.data, table.scales, width,
                           y + begin * width);
    });
  }
};

}  // namespace

BoundOp bind_embed(OpContext& context) { return OpKernel<Embed>::bind(context); }

}  // namespace stepguard
