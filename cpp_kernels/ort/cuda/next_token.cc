#include <algorithm>

#include "../reads.h"
#include "../table.h"
#include "device.h"

namespace stepguard {
namespace {

// Rows whose logits are in memory at a time.
constexpr int64_t kTogether = 8;

class NextToken {
 public:
  static constexpr const char* name = "NextToken";
  static constexpr size_t outputs = 2;
  static ONNXTensorElementDataType output_type(size_t index) {
    return index == 0 ? kOrtInt32 : kOrtFloat;
  }
  static const std::vector<Port>& inputs() {
    static const std::vector<Port> ports = {
        {kOrtFloat}, {kOrtFloat}, {kOrtInt32, false, true}, {kOrtAny}, {kOrtFloat16, true}};
    return ports;
  }
  NextToken(OpContext&, const NodeInfo& node)
      : epsilon_(node.real("epsilon")), offset_(node.real("offset")) {}

  void compute(Call& call) const {
    Device& device = *call.context().device;
    const cuda::Table& kernels = device.kernels();
    const Tensor x = call.input(0, "x", {-1, -1});
    int64_t width = x.shape[1];
    const auto* norm = call.input(1, "norm", {width}).as<float>();
    const Tensor nexts = call.input(2, "nexts", {-1});
    const int64_t count = nexts.shape[0];
    const Table table = read_table(call, 3, 4, width);
    require(table.rows > 0, "table", "at least one row", table.rows);
    const auto* rows = nexts.as<int32_t>();
    check_rows(nexts, "nexts", x.shape[0]);
    auto* ids = static_cast<int32_t*>(call.output(0, {count}));
    auto* scores = static_cast<float*>(call.output(1, {count}));
    if (count == 0) return;
    const auto stream = call.stream();
    const int32_t* uploaded = device.upload(stream, Scratch::kIds, rows, count);
    auto* normed = device.scratch<float>(Scratch::kNormed, count * width);
    Device::must(kernels.gather(stream, x.as<float>(), uploaded, count, width, normed));
    Device::must(kernels.rms_norm(stream, normed, norm, epsilon_, offset_, count, width, normed));
    const int64_t most = std::min(count, kTogether);
    auto* logits = device.scratch<float>(Scratch::kLogits, most * table.rows);
    void* work = device.scratch(Scratch::kBest, kernels.best_bytes(most, table.rows));
    const cuda::TableRows from{table.data, table.scales, width};
    for (int64_t n = 0; n < count; n += kTogether) {
      const int64_t together = std::min(kTogether, count - n);
      Device::must(
          kernels.read_rows(stream, normed + n * width, together, 0, table.rows, from, logits));
      Device::must(kernels.best(stream, logits, together, table.rows, work, ids + n, scores + n));
    }
  }

 private:
  float epsilon_, offset_;
};

}  // namespace

BoundOp bind_device_next_token(OpContext& context) { return OpKernel<NextToken>::bind(context); }

}  // namespace stepguard
