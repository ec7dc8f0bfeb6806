// Operations on rows as `bench kernels` runs them, cut into threads as the adapters in
// cpp_kernels/ort/ cut them.
#include <algorithm>

#include "op_cases.h"

namespace stepguard {
namespace {

// Operations on rows of a width: a norm, a gate, and an 8-bit table that is read by id.
class RowsCase final : public OpCase {
 public:
  RowsCase(const std::string& op, const OpSizes& sizes)
      : op_(op), rows_(size_of(sizes, "rows")), width_(size_of(sizes, "width")) {
    x_ = random_.reals(rows_ * width_);
    weight_ = random_.reals(width_, 0.5F, 1.0F);
    const bool table = op == "embed" || op == "read_row";
    if (table) {
      const int64_t blocks = ceiling(width_, kBlock);
      for (int64_t i = 0; i < rows_ * width_; ++i) {
        table_.push_back(static_cast<int8_t>(random_.bits()));
      }
      for (int64_t i = 0; i < rows_ * blocks; ++i) {
        scales_.push_back(float_to_half(0.01F + 0.005F * random_.real()));
      }
      for (int64_t i = 0; i < rows_; ++i) ids_.push_back(static_cast<int32_t>(rows_ - 1 - i));
    }
    out.resize(static_cast<size_t>(op == "read_row" ? rows_ : rows_ * width_));
    const auto size = static_cast<double>(rows_ * width_);
    const double stored = static_cast<double>(table_.size() + 2 * scales_.size());
    bytes = (table ? stored : 4.0 * size) + 4.0 * static_cast<double>(out.size());
    operations = (op == "rms_norm" ? 4.0 : 2.0) * size;
  }

  void run(const KernelTable& table, ThreadPool& pool, int64_t) override {
    if (op_ == "sigmoid_gate") std::copy(x_.begin(), x_.end(), out.begin());
    pool.for_range(rows_, 16, [&](int64_t begin, int64_t end) {
      const int64_t count = end - begin, at = begin * width_;
      if (op_ == "rms_norm") {
        table.rms_norm(x_.data() + at, weight_.data(), 1e-6F, 0.0F, count, width_, out.data() + at);
      } else if (op_ == "sigmoid_gate") {
        table.sigmoid_gate(x_.data() + at, width_, count, width_, out.data() + at, width_);
      } else if (op_ == "embed") {
        table.embed(ids_.data() + begin, count, table_.data(), scales_.data(), width_,
                    out.data() + at);
      } else {
        for (int64_t r = begin; r < end; ++r) {
          out[static_cast<size_t>(r)] = table.read_row(x_.data(), ids_[static_cast<size_t>(r)],
                                                       table_.data(), scales_.data(), width_);
        }
      }
    });
  }

 private:
  Random random_;
  std::string op_;
  int64_t rows_, width_;
  std::vector<float> x_, weight_;
  std::vector<int8_t> table_;
  std::vector<uint16_t> scales_;
  std::vector<int32_t> ids_;
};

}  // namespace

std::unique_ptr<OpCase> make_rows_case(const std::string& op, const OpSizes& sizes) {
  return std::make_unique<RowsCase>(op, sizes);
}

}  // namespace stepguard
