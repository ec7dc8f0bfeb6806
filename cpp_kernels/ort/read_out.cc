#include <algorithm>

#include "register.h"
#include "table.h"

namespace stepguard {
namespace {

// Final norm and the asked-for output rows, at the packed rows that are read.
// x [T, H], reads [M], read_offsets [M+1], read_ids [R] -> logits [R], hidden [M, H].
class ReadOut {
 public:
  static constexpr const char* name = "ReadOut";
  static constexpr size_t outputs = 2;
  static const std::vector<Port>& inputs() {
    static const std::vector<Port> ports = {{kOrtFloat}, {kOrtFloat}, {kOrtInt32},
                                            {kOrtInt32}, {kOrtInt32}, {kOrtInt32},
                                            {kOrtFloat}, {kOrtAny},   {kOrtFloat16, true}};
    return ports;
  }
  ReadOut(OpContext&, const NodeInfo& node)
      : epsilon_(node.real("epsilon")), offset_(node.real("offset")) {}

  void compute(Call& call) const {
    OpContext& context = call.context();
    const Tensor x = call.input(0, "x", {-1, -1});
    int64_t width = x.shape[1];
    const auto* norm = call.input(1, "norm", {width}).as<float>();
    const Tensor reads = call.input(2, "reads", {-1});
    const int64_t count = reads.shape[0];
    const auto* offsets = call.input(3, "read_offsets", {count + 1}).as<int32_t>();
    const Tensor ids = call.input(4, "read_ids", {-1});
    const Tensor row_ids = call.input(5, "row_ids", {-1});
    const Tensor rows = call.input(6, "rows", {row_ids.shape[0], width});
    const Table table = read_table(call, 7, 8, width);
    check_reads(reads, offsets, ids, x.shape[0], table.rows);

    auto* logits = static_cast<float*>(call.output(0, {ids.shape[0]}));
    auto* hidden = static_cast<float*>(call.output(1, {count, width}));
    context.parallel->for_range(count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t m = begin; m < end; ++m) {
        float* row = hidden + m * width;
        context.table->rms_norm(x.as<float>() + reads.as<int32_t>()[m] * width, norm, epsilon_,
                                offset_, 1, width, row);
        for (int32_t j = offsets[m]; j < offsets[m + 1]; ++j) {
          logits[j] = logit(*context.table, row, ids.as<int32_t>()[j], row_ids, rows, table);
        }
      }
    });
  }

 private:
  static void check_reads(const Tensor& reads, const int32_t* offsets, const Tensor& ids,
                          int64_t rows, int64_t vocabulary) {
    const int64_t count = reads.shape[0];
    require(offsets[0] == 0, "read_offsets", "0 at the start", offsets[0]);
    for (int64_t m = 0; m < count; ++m) {
      require(reads.as<int32_t>()[m] >= 0 && reads.as<int32_t>()[m] < rows, "reads",
              "rows below " + std::to_string(rows), reads.as<int32_t>()[m]);
      require(offsets[m] >= 0 && offsets[m] <= offsets[m + 1], "read_offsets", "ascending numbers",
              offsets[m]);
    }
    require(offsets[count] == ids.shape[0], "read_offsets",
            std::to_string(ids.shape[0]) + " at the end", offsets[count]);
    for (int64_t j = 0; j < ids.shape[0]; ++j) {
      require(ids.as<int32_t>()[j] >= 0 && ids.as<int32_t>()[j] < vocabulary, "read_ids",
              "ids below " + std::to_string(vocabulary), ids.as<int32_t>()[j]);
    }
  }

  // Label rows are kept in float32; any other id is read from the table.
  static float logit(const KernelTable& kernels, const float* x, int32_t id, const Tensor& row_ids,
                     const Tensor& rows, const Table& table) {
    const auto* begin = row_ids.as<int32_t>();
    const auto* end = begin + row_ids.shape[0];
    const auto* found = std::lower_bound(begin, end, id);
    const int64_t width = rows.shape[1];
    if (found != end && *found == id) {
      return kernels.read_row(x, found - begin, rows.data, nullptr, width);
    }
    return kernels.read_row(x, id, table.data, table.scales, width);
  }

  float epsilon_, offset_;
};

}  // namespace

BoundOp bind_read_out(OpContext& context) { return OpKernel<ReadOut>::bind(context); }

}  // namespace stepguard
