// Integer rows times weights on a GPU: tensor cores against what computes the same without them.
#include <algorithm>

#include "device_checks.h"
#include "device_operands.h"

namespace stepguard::device_tests {
namespace {

// Integer rows times weights, on tensor cores and without.
class Integers {
 public:
  Integers(const cuda::Table& library, WeightFormat format, Epilogue epilogue, int64_t n, int64_t k)
      : library_(library), x_(random_floats(kRows * k)), residual_(random_floats(kRows * n)) {
    const bool pair = epilogue == Epilogue::kSwiGlu;
    const int64_t panels = (pair ? 2 : 1) * ((width(epilogue, n) + kPanel - 1) / kPanel);
    const int64_t blocks = (k + kBlock - 1) / kBlock;
    bytes_.resize(static_cast<size_t>(panels * blocks * kBlock * kPanel));
    const Floats noise = random_floats(static_cast<int64_t>(bytes_.size()));
    std::memcpy(bytes_.data(), noise.data(), bytes_.size());
    for (const float scale : random_floats(panels * blocks * kPanel)) {
      scales_.push_back(float_to_half(scale * 0.01F));
    }
    call_.weight = {format, n, k, nullptr, nullptr, nullptr};
    call_.activations = Activations::kInt8;
    call_.epilogue = epilogue;
  }

  void test() {
    const std::string what =
        "tiles of format " + std::to_string(static_cast<int>(call_.weight.format)) + " n " +
        std::to_string(call_.weight.n) + " k " + std::to_string(call_.weight.k);
    const Floats all = run(library_.linear_plain, 0, kRows);
    for (const int64_t rows : {1, 8, 9, 16, 17, 64, 65, 70}) {
      const Floats some = run(library_.linear, 0, rows);
      const Floats wanted(all.begin(), all.begin() + static_cast<int64_t>(some.size()));
      check(same_bits(some, wanted), what + ", " + std::to_string(rows) + " rows");
    }
    const int64_t units = (width(call_.epilogue, call_.weight.n) + kPanel - 1) / kPanel;
    check(same_bits(run(library_.linear, 0, kRows, 1), all), what + ", unit by unit");
    check(same_bits(run(library_.linear, 0, kRows, units - 1), all), what + ", two calls");
  }

 private:
  static constexpr int64_t kRows = 70;

  static int64_t width(Epilogue epilogue, int64_t n) {
    return epilogue == Epilogue::kSwiGlu ? n / 2 : n;
  }

  Floats run(decltype(cuda::Table::linear) linear, int64_t first, int64_t rows,
             int64_t cut = 1000) {
    const int64_t columns = width(call_.epilogue, call_.weight.n);
    Operands operands(library_);
    Floats y = room(rows * columns);
    LinearCall call = call_;
    const int64_t k = call.weight.k;
    call.rows = rows;
    call.weight.data = operands.put(bytes_);
    call.weight.scales = operands.put(scales_);
    if (call.epilogue == Epilogue::kResidual) call.residual = operands.put(residual_);
    const LinearInput input{call.weight.format, call.activations, rows, k};
    void* packed = operands.scratch(library_.linear_packed_bytes(input));
    const float* x = operands.put(&x_[static_cast<size_t>(first * k)], rows * k);
    must(library_.linear_pack(nullptr, input, x, packed));
    call.packed = packed;
    call.y = operands.in_out(y);
    const int64_t units = (columns + kPanel - 1) / kPanel;
    cuda::Problem problem = nullptr;
    for (int64_t u = 0; u < units && problem == nullptr; u += std::max<int64_t>(cut, 1)) {
      problem = linear(nullptr, call, u, std::min(u + std::max<int64_t>(cut, 1), units));
    }
    operands.finish(problem);
    return y;
  }

  const cuda::Table& library_;
  LinearCall call_;
  Floats x_, residual_;
  std::vector<uint8_t> bytes_;
  std::vector<uint16_t> scales_;
};

}  // namespace

void test_tiles(const cuda::Table& library) {
  for (const WeightFormat format : {WeightFormat::kInt8, WeightFormat::kInt4}) {
    for (const int64_t k : {1, 32, 65, 320}) {
      Integers(library, format, Epilogue::kNone, 16, k).test();
      Integers(library, format, Epilogue::kResidual, 150, k).test();
      Integers(library, format, Epilogue::kSwiGlu, 134, k).test();
    }
  }
}

}  // namespace stepguard::device_tests
