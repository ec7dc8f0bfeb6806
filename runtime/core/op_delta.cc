// The delta rule and what comes before it as `bench kernels` runs them, cut into threads as the
// adapter in cpp_kernels/ort/ cuts them.
#include <algorithm>
#include <stdexcept>

#include "op_cases.h"

namespace stepguard {
namespace {

class DeltaCase final : public OpCase {
 public:
  DeltaCase(const OpSizes& sizes, bool rule) : rule_(rule) {
    rows_ = size_of(sizes, "rows");
    shape_.k_heads = size_of(sizes, "k_heads");
    shape_.v_heads = size_of(sizes, "v_heads");
    shape_.k_dim = size_of(sizes, "k_dim", 1, kMaxHeadDim);
    shape_.v_dim = size_of(sizes, "v_dim", 1, kMaxHeadDim);
    shape_.conv_width = size_of(sizes, "conv_width", 2, kMaxConvWidth);
    if (shape_.v_heads % shape_.k_heads != 0) {
      throw std::invalid_argument("sizes: v_heads: expected a multiple of k_heads");
    }
    values_ = shape_.v_heads * shape_.v_dim;
    channels_ = 2 * shape_.k_heads * shape_.k_dim + values_;
    state_ = values_ * shape_.k_dim;
    copies_ = copies_of(8.0 * static_cast<double>(state_));
    fill();
    out.resize(static_cast<size_t>(rows_ * (rule_ ? values_ : channels_)));
    const auto rows = static_cast<double>(rows_);
    const auto state = static_cast<double>(state_), channels = static_cast<double>(channels_);
    if (rule_) {
      bytes = 8.0 * state + 4.0 * rows * (channels + 2.0 * static_cast<double>(values_));
      operations = 7.0 * rows * state;  // decay, k S, the update and q S
    } else {
      bytes = 8.0 * rows * channels;
      operations = 2.0 * rows * channels * static_cast<double>(shape_.conv_width);
    }
  }

  void run(const KernelTable& table, ThreadPool& pool, int64_t turn) override {
    DeltaCall call;
    call.rows = rows_;
    call.qkvz = qkvz_.data();
    call.ba = ba_.data();
    call.conv_source = conv_.data();
    call.delta_source = source_.data() + turn % copies_ * state_;
    call.delta_target = target_.data() + turn % copies_ * state_;
    call.gates = gates_.data();
    call.qkv = rule_ ? qkv_.data() : out.data();
    call.out = rule_ ? out.data() : nullptr;
    if (!rule_ || !prepared_) {
      const int64_t units = 2 * shape_.k_heads + shape_.v_heads;
      pool.for_range(units, 1, [&](int64_t begin, int64_t end) {
        table.delta_prepare(shape_, call, begin, end);
      });
      prepared_ = true;
    }
    if (!rule_) return;
    pool.for_range(shape_.v_heads, 1,
                   [&](int64_t begin, int64_t end) { table.delta_rule(shape_, call, begin, end); });
  }

 private:
  void fill() {
    conv_weight_ = random_.reals(channels_ * shape_.conv_width);
    a_log_ = random_.reals(shape_.v_heads);
    dt_bias_ = random_.reals(shape_.v_heads);
    norm_ = random_.reals(shape_.v_dim, 0.5F, 1.0F);
    shape_.conv_weight = conv_weight_.data();
    shape_.a_log = a_log_.data();
    shape_.dt_bias = dt_bias_.data();
    shape_.norm = norm_.data();
    qkvz_ = random_.reals(rows_ * (channels_ + values_));
    ba_ = random_.reals(rows_ * 2 * shape_.v_heads);
    conv_ = random_.reals(channels_ * (shape_.conv_width - 1));
    source_ = random_.reals(state_);
    source_.resize(static_cast<size_t>(copies_ * state_));
    for (int64_t copy = 1; copy < copies_; ++copy) {
      std::copy_n(source_.begin(), state_, source_.begin() + copy * state_);
    }
    target_.resize(source_.size());
    qkv_.resize(static_cast<size_t>(rows_ * channels_));
    gates_.resize(static_cast<size_t>(rows_ * 2 * shape_.v_heads));
  }

  Random random_;
  DeltaShape shape_;
  bool rule_, prepared_ = false;
  int64_t rows_ = 0, values_ = 0, channels_ = 0, state_ = 0, copies_ = 1;
  std::vector<float> conv_weight_, a_log_, dt_bias_, norm_, qkvz_, ba_, conv_, source_, target_;
  std::vector<float> qkv_, gates_;
};

}  // namespace

std::unique_ptr<OpCase> make_delta_prepare_case(const OpSizes& sizes) {
  return std::make_unique<DeltaCase>(sizes, false);
}

std::unique_ptr<OpCase> make_delta_rule_case(const OpSizes& sizes) {
  return std::make_unique<DeltaCase>(sizes, true);
}

}  // namespace stepguard
