#include <algorithm>

#include "reads.h"
#include "register.h"
#include "table.h"

namespace stepguard {
namespace {

// Final norm and the asked-for output rows of the rows that are read.
// x [M, H], read_offsets [M+1], read_ids [R] -> logits [R], hidden [M, H].
class ReadOut {
  // Output rows that one thread computes for a read; whoever wants more gets all threads.
  static constexpr int64_t kMany = 1024;

 public:
  static constexpr const char* name = "ReadOut";
  static constexpr size_t outputs = 2;
  static const std::vector<Port>& inputs() {
    static const std::vector<Port> ports = {{kOrtFloat}, {kOrtFloat},        {kOrtInt32},
                                            {kOrtInt32}, {kOrtInt32},        {kOrtFloat},
                                            {kOrtAny},   {kOrtFloat16, true}};
    return ports;
  }
  ReadOut(OpContext&, const NodeInfo& node)
      : epsilon_(node.real("epsilon")), offset_(node.real("offset")) {}

  void compute(Call& call) const {
    OpContext& context = call.context();
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
    const auto read = [&](int64_t m, int64_t begin, int64_t end) {
      for (int64_t j = begin; j < end; ++j) {
        logits[j] =
            logit(*context.table, hidden + m * width, ids.as<int32_t>()[j], row_ids, rows, table);
      }
    };
    context.parallel->for_range(count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t m = begin; m < end; ++m) {
        context.table->rms_norm(x.as<float>() + m * width, norm, epsilon_, offset_, 1, width,
                                hidden + m * width);
        if (offsets[m + 1] - offsets[m] <= kMany) read(m, offsets[m], offsets[m + 1]);
      }
    });
    for (int64_t m = 0; m < count; ++m) {
      if (const int64_t wanted = offsets[m + 1] - offsets[m]; wanted > kMany) {
        context.parallel->for_range(wanted, kMany / 4, [&](int64_t begin, int64_t end) {
          read(m, offsets[m] + begin, offsets[m] + end);
        });
      }
    }
  }

 private:
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
