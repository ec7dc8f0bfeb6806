// Linear as `bench kernels` runs it, cut into threads as the adapter in cpp_kernels/ort/ cuts it.
#include <algorithm>

#include "op_cases.h"

namespace stepguard {
namespace {

class LinearCase final : public OpCase {
 public:
  explicit LinearCase(const OpSizes& sizes) {
    const int64_t rows = size_of(sizes, "rows"), k = size_of(sizes, "k");
    call_.weight.n = size_of(sizes, "n");
    call_.weight.k = k;
    call_.weight.format = static_cast<WeightFormat>(size_of(sizes, "format", 0, 2));
    const bool plain = call_.weight.format == WeightFormat::kFloat32;
    call_.activations = static_cast<Activations>(size_of(sizes, "activations", 0, plain ? 0 : 2));
    call_.epilogue = static_cast<Epilogue>(size_of(sizes, "epilogue", 0, 2));
    call_.rows = rows;
    const bool pair = call_.epilogue == Epilogue::kSwiGlu;
    width_ = pair ? call_.weight.n / 2 : call_.weight.n;
    const int64_t panels = ceiling(width_, kPanel) * (pair ? 2 : 1), blocks = ceiling(k, kBlock);
    const bool int4 = call_.weight.format == WeightFormat::kInt4;
    const int64_t panel = plain ? k * kPanel * 4 : blocks * kBlock * kPanel / (int4 ? 2 : 1);
    lines_ = ceiling(panels * panel, 64);
    scales_ = plain ? 0 : panels * blocks * kPanel;
    const double weights = static_cast<double>(panels * panel + 2 * scales_);
    copies_ = copies_of(weights);
    fill(plain);
    x_ = random_.reals(rows * k);
    residual_ = random_.reals(rows * width_);
    out.resize(static_cast<size_t>(rows * width_));
    bytes = weights + 4.0 * static_cast<double>(rows * (k + width_));
    operations = 2.0 * static_cast<double>(rows * k * call_.weight.n);
    if (call_.activations == Activations::kInt8) arithmetic = int4 ? "int8" : "int16";
    if (call_.activations == Activations::kBfloat16) arithmetic = "bf16";
  }

  void run(const KernelTable& table, ThreadPool& pool, int64_t turn) override {
    LinearCall call = call_;
    call.weight.data = data_.data() + turn % copies_ * lines_;
    call.weight.scales = scales_ == 0 ? nullptr : scale_.data() + turn % copies_ * scales_;
    call.residual = call.epilogue == Epilogue::kResidual ? residual_.data() : nullptr;
    call.y = out.data();
    const LinearInput input{call.weight.format, call.activations, call.rows, call.weight.k};
    packed_.resize(table.linear_packed_bytes(input) / sizeof(Line) + 1);
    pool.for_range(table.linear_blocks(input), 4, [&](int64_t begin, int64_t end) {
      table.linear_pack(input, x_.data(), begin, end, packed_.data());
    });
    call.packed = packed_.data();
    pool.for_range(ceiling(width_, kPanel), 2,
                   [&](int64_t begin, int64_t end) { table.linear(call, begin, end); });
  }

 private:
  void fill(bool plain) {
    data_.resize(static_cast<size_t>(copies_ * lines_));
    for (int64_t i = 0; i < lines_ * 16; ++i) {
      const float real = random_.real();
      const uint32_t bits = random_.bits();
      auto* at = reinterpret_cast<uint8_t*>(data_.data()) + 4 * i;
      std::copy_n(
          plain ? reinterpret_cast<const uint8_t*>(&real) : reinterpret_cast<const uint8_t*>(&bits),
          4, at);
    }
    scale_.resize(static_cast<size_t>(copies_ * scales_));
    for (int64_t i = 0; i < scales_; ++i) {
      scale_[static_cast<size_t>(i)] = float_to_half(0.01F + 0.005F * random_.real());
    }
    for (int64_t copy = 1; copy < copies_; ++copy) {
      std::copy_n(data_.begin(), lines_, data_.begin() + copy * lines_);
      std::copy_n(scale_.begin(), scales_, scale_.begin() + copy * scales_);
    }
  }

  Random random_;
  LinearCall call_;
  int64_t width_ = 0, lines_ = 0, scales_ = 0, copies_ = 1;
  std::vector<Line> data_, packed_;
  std::vector<uint16_t> scale_;
  std::vector<float> x_, residual_;
};

}  // namespace

std::unique_ptr<OpCase> make_linear_case(const OpSizes& sizes) {
  return std::make_unique<LinearCase>(sizes);
}

}  // namespace stepguard
