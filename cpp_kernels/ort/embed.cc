#include "mapped_rows.h"
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

  void compute(Call& call) {
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
    const int64_t bytes = table.scales == nullptr ? width * int64_t{sizeof(float)} : width;
    table_rows_.release(table.data, table.rows, bytes, id, rows);
    if (table.scales == nullptr) return;
    const int64_t scales = (width + kBlock - 1) / kBlock * int64_t{sizeof(uint16_t)};
    scale_rows_.release(table.scales, table.rows, scales, id, rows);
  }

 private:
  MappedRows table_rows_, scale_rows_;
};

}  // namespace

BoundOp bind_embed(OpContext& context) { return OpKernel<Embed>::bind(context); }

}  // namespace stepguard
