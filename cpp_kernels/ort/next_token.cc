#include <algorithm>
#include <cmath>
#include <limits>

#include "reads.h"
#include "register.h"
#include "table.h"

namespace stepguard {
namespace {

// Output rows that one unit of work compares. Sums are taken per block and then over the blocks in
// order, so that no bit depends on the threads.
constexpr int64_t kBlockRows = 256;
// Read rows that share one look at a block, which stays in the cache meanwhile.
constexpr int64_t kTogether = 4;

// The best row of a block, the first of equals, and the sum of exp(logit - best) over the block.
struct Best {
  double sum = 0.0;
  float logit = 0.0F;
  int32_t id = 0;
};

Best best_of(const float* logits, int64_t count, int64_t first_id) {
  Best best;
  const float* top = std::max_element(logits, logits + count);
  best.logit = *top;
  best.id = static_cast<int32_t>(first_id + (top - logits));
  // A logit that is no number, or infinite, makes the sum no number, wherever it stands.
  for (int64_t i = 0; i < count; ++i) best.sum += std::exp(double{logits[i]} - double{best.logit});
  return best;
}

// Final norm and the whole output matrix, for those of the read rows that ask for the next token.
// x [M, H], nexts [N] -> ids [N] of the highest logit, the lowest of equals; scores [N], its
// log-probability.
class NextToken {
 public:
  static constexpr const char* name = "NextToken";
  static constexpr size_t outputs = 2;
  static ONNXTensorElementDataType output_type(size_t index) {
    return index == 0 ? kOrtInt32 : kOrtFloat;
  }
  static const std::vector<Port>& inputs() {
    static const std::vector<Port> ports = {
        {kOrtFloat}, {kOrtFloat}, {kOrtInt32}, {kOrtAny}, {kOrtFloat16, true}};
    return ports;
  }
  NextToken(OpContext&, const NodeInfo& node)
      : epsilon_(node.real("epsilon")), offset_(node.real("offset")) {}

  void compute(Call& call) const {
    OpContext& context = call.context();
    const Tensor x = call.input(0, "x", {-1, -1});
    int64_t width = x.shape[1];
    const auto* norm = call.input(1, "norm", {width}).as<float>();
    const Tensor nexts = call.input(2, "nexts", {-1});
    const int64_t count = nexts.shape[0];
    const Table table = read_table(call, 3, 4, width);
    require(table.rows > 0, "table", "at least one row", table.rows);
    check_rows(nexts, "nexts", x.shape[0]);
    auto* ids = static_cast<int32_t*>(call.output(0, {count}));
    auto* scores = static_cast<float*>(call.output(1, {count}));
    if (count == 0) return;

    const int64_t blocks = (table.rows + kBlockRows - 1) / kBlockRows;
    const auto size = static_cast<size_t>(count);
    auto* rows = static_cast<float*>(
        context.scratch(0, std::max<size_t>(size * static_cast<size_t>(width), 1) * sizeof(float)));
    auto* best =
        static_cast<Best*>(context.scratch(1, size * static_cast<size_t>(blocks) * sizeof(Best)));
    for (int64_t n = 0; n < count; ++n) {
      context.table->rms_norm(x.as<float>() + nexts.as<int32_t>()[n] * width, norm, epsilon_,
                              offset_, 1, width, rows + n * width);
    }
    context.parallel->for_range(blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t block = begin; block < end; ++block) {
        if (context.cancelled.load(std::memory_order_relaxed)) return;
        look_at(context, table, rows, count, width, block, best + block * count);
      }
    });
    if (context.cancelled.load(std::memory_order_relaxed)) throw OpError("cancelled");
    for (int64_t n = 0; n < count; ++n) {
      const Best found = best_of_blocks(best + n, blocks, count);
      ids[n] = found.id;
      scores[n] = static_cast<float>(-std::log(found.sum));
    }
  }

 private:
  static void look_at(const OpContext& context, const Table& table, const float* rows,
                      int64_t count, int64_t width, int64_t block, Best* best) {
    float logits[kTogether * kBlockRows];
    const int64_t begin = block * kBlockRows, end = std::min(begin + kBlockRows, table.rows);
    for (int64_t n = 0; n < count; n += kTogether) {
      const int64_t together = std::min(kTogether, count - n);
      context.table->read_rows(rows + n * width, together, begin, end, table.data, table.scales,
                               width, logits);
      for (int64_t i = 0; i < together; ++i) {
        best[n + i] = best_of(logits + i * (end - begin), end - begin, begin);
      }
    }
  }

  // The blocks of one read row lie `stride` apart.
  static Best best_of_blocks(const Best* blocks, int64_t count, int64_t stride) {
    Best best = blocks[0];
    for (int64_t b = 1; b < count; ++b) {
      if (blocks[b * stride].logit > best.logit) best = blocks[b * stride];
    }
    best.sum = 0.0;
    for (int64_t b = 0; b < count; ++b) {
      const Best& block = blocks[b * stride];
      best.sum += block.sum * std::exp(double{block.logit} - double{best.logit});
    }
    return best;
  }

  float epsilon_, offset_;
};

}  // namespace

BoundOp bind_next_token(OpContext& context) { return OpKernel<NextToken>::bind(context); }

}  // namespace stepguard
