#include "register.h"

namespace stepguard {
namespace {

WeightFormat parse_format(const std::string& text) {
  if (text == "float32") return WeightFormat::kFloat32;
  if (text == "int8") return WeightFormat::kInt8;
  if (text == "int4") return WeightFormat::kInt4;
  throw OpError("format: expected float32, int8 or int4, got '" + text + "'");
}

Epilogue parse_epilogue(const std::string& text) {
  if (text == "none") return Epilogue::kNone;
  if (text == "residual") return Epilogue::kResidual;
  if (text == "swiglu") return Epilogue::kSwiGlu;
  throw OpError("epilogue: expected none, residual or swiglu, got '" + text + "'");
}

// x [T, k] -> [T, n], or [T, n/2] with SwiGLU.
class Linear {
 public:
  static constexpr const char* name = "Linear";
  static constexpr size_t outputs = 1;
  static const std::vector<Port>& inputs() {
    static const std::vector<Port> ports = {
        {kOrtFloat}, {kOrtAny}, {kOrtFloat16, true}, {kOrtFloat, true}, {kOrtFloat, true}};
    return ports;
  }

  Linear(OpContext&, const NodeInfo& node)
      : format_(parse_format(node.text("format"))),
        epilogue_(parse_epilogue(node.text("epilogue"))),
        n_(node.integer("n")),
        k_(node.integer("k")) {
    require(n_ > 0 && n_ < (int64_t{1} << 31), "n", "a positive size", n_);
    require(k_ > 0 && k_ < (int64_t{1} << 31), "k", "a positive size", k_);
    require(epilogue_ != Epilogue::kSwiGlu || n_ % 2 == 0, "n", "an even size with swiglu", n_);
  }

  void compute(Call& call) const {
    OpContext& context = call.context();
    const KernelTable& table = *context.table;
    const Tensor x = call.input(0, "x", {-1, k_});
    LinearCall linear;
    linear.weight = weight(call);
    linear.epilogue = epilogue_;
    linear.rows = x.shape[0];
    if (epilogue_ == Epilogue::kResidual) {
      linear.residual = call.input(4, "residual", {linear.rows, n_}).as<float>();
    }
    const int64_t width = epilogue_ == Epilogue::kSwiGlu ? n_ / 2 : n_;
    linear.y = static_cast<float*>(call.output(0, {linear.rows, width}));
    if (linear.rows == 0) return;

    void* packed = context.scratch(0, table.linear_packed_bytes(format_, linear.rows, k_));
    context.parallel->for_range(
        table.linear_blocks(linear.rows), 4, [&](int64_t begin, int64_t end) {
          table.linear_pack(format_, x.as<float>(), linear.rows, k_, begin, end, packed);
        });
    linear.packed = packed;
    const int64_t units = (width + kPanel - 1) / kPanel;
    context.parallel->for_range(units, 2, [&](int64_t begin, int64_t end) {
      if (context.cancelled.load(std::memory_order_relaxed)) return;
      table.linear(linear, begin, end);
    });
    if (context.cancelled.load(std::memory_order_relaxed)) throw OpError("cancelled");
  }

 private:
  LinearWeight weight(const Call& call) const {
    LinearWeight weight;
    weight.format = format_;
    weight.n = n_;
    weight.k = k_;
    // With SwiGLU gate and up are padded to whole panels each.
    const int64_t panels = epilogue_ == Epilogue::kSwiGlu ? 2 * ((n_ / 2 + kPanel - 1) / kPanel)
                                                          : (n_ + kPanel - 1) / kPanel;
    const int64_t blocks = (k_ + kBlock - 1) / kBlock;
    std::vector<int64_t> shape;
    ONNXTensorElementDataType type = kOrtFloat;
    if (format_ == WeightFormat::kFloat32) {
      shape = {panels, k_, kPanel};
    } else if (format_ == WeightFormat::kInt8) {
      shape = {panels, blocks * kBlock / 4, kPanel, 4};
      type = kOrtInt8;
    } else {
      shape = {panels, blocks * kBlock / 8, kPanel, 4};
      type = kOrtUint8;
    }
    const Tensor data = call.input(1, "weight", shape);
    require(data.type == type, "weight", "element type " + std::to_string(type), data.type);
    require(reinterpret_cast<uintptr_t>(data.data) % 64 == 0, "weight", "64-byte alignment",
            static_cast<int64_t>(reinterpret_cast<uintptr_t>(data.data) % 64));
    weight.data = data.data;
    if (format_ != WeightFormat::kFloat32) {
      weight.scales = call.input(2, "scales", {panels, blocks, kPanel}).as<uint16_t>();
    }
    if (call.input(3).present()) {
      require(epilogue_ != Epilogue::kSwiGlu, "bias", "none with swiglu", n_);
      weight.bias = call.input(3, "bias", {n_}).as<float>();
    }
    return weight;
  }

  WeightFormat format_;
  Epilogue epilogue_;
  int64_t n_, k_;
};

}  // namespace

BoundOp bind_linear(OpContext& context) { return OpKernel<Linear>::bind(context); }

}  // namespace stepguard
