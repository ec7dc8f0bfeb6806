#include "../reads.h"
#include "../table.h"
#include "device.h"

namespace stepguard {
namespace {

class ReadOut {
 public:
  static constexpr const char* name = "ReadOut";
  static constexpr size_t outputs = 2;
  static const std::vector<Port>& inputs() {
    static const std::vector<Port> ports = {
        {kOrtFloat}, {kOrtFloat}, {kOrtInt32, false, true}, {kOrtInt32, false, true}, {kOrtInt32},
        {kOrtFloat}, {kOrtAny},   {kOrtFloat16, true}};
    return ports;
  }
  ReadOut(OpContext&, const NodeInfo& node)
      : epsilon_(node.real("epsilon")), offset_(node.real("offset")) {}

  void compute(Call& call) const {
    Device& device = *call.context().device;
    const cuda::Table& kernels = device.kernels();
    const Tensor x = call.input(0, "x", {-1, -1});
    const int64_t count = x.shape[0];
    int64_t width = x.shape[1];
    const auto* norm = call.input(1, "norm", {width}).as<float>();
    const auto* offsets = call.input(2, "read_offsets", {count + 1}).as<int32_t>();
    const Tensor ids = call.input(3, "read_ids", {-1});
    const Tensor row_ids = call.input(4, "row_ids", {-1});
    const Tensor rows = call.input(5, "rows", {row_ids.shape[0], width});
    const Table table = read_table(call, 6, 7, width);
    check_reads(count, offsets, ids, table.rows);
    auto* logits = static_cast<float*>(call.output(0, {ids.shape[0]}));
    auto* hidden = static_cast<float*>(call.output(1, {count, width}));
    Device::must(kernels.rms_norm(call.stream(), x.as<float>(), norm, epsilon_, offset_, count,
                                  width, hidden));
    if (ids.shape[0] == 0) return;
    const auto wanted = static_cast<size_t>(ids.shape[0]);
    std::vector<int32_t> words;  // the row of every read, then its id
    words.reserve(2 * wanted);
    for (int64_t m = 0; m < count; ++m) {
      words.insert(words.end(), static_cast<size_t>(offsets[m + 1] - offsets[m]),
                   static_cast<int32_t>(m));
    }
    words.insert(words.end(), ids.as<int32_t>(), ids.as<int32_t>() + wanted);
    const int32_t* uploaded = device.upload(call.stream(), Scratch::kIds, words.data(),
                                            static_cast<int64_t>(words.size()));
    cuda::Reads reads;
    reads.x = hidden;
    reads.rows = uploaded;
    reads.ids = uploaded + wanted;
    reads.count = ids.shape[0];
    reads.table = {table.data, table.scales, width};
    reads.label_ids = row_ids.as<int32_t>();
    reads.label_rows = rows.as<float>();
    reads.labels = row_ids.shape[0];
    Device::must(kernels.read_out(call.stream(), reads, logits));
  }

 private:
  float epsilon_, offset_;
};

}  // namespace

BoundOp bind_device_read_out(OpContext& context) { return OpKernel<ReadOut>::bind(context); }

}  // namespace stepguard
