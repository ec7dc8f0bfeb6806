#include "linear_node.h"

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

}  // namespace

LinearNode::LinearNode(const NodeInfo& node)
    : format_(parse_format(node.text("format"))),
      epilogue_(parse_epilogue(node.text("epilogue"))),
      n_(node.integer("n")),
      k_(node.integer("k")) {
  require(n_ > 0 && n_ < (int64_t{1} << 31), "n", "a positive size", n_);
  require(k_ > 0 && k_ < (int64_t{1} << 31), "k", "a positive size", k_);
  require(epilogue_ != Epilogue::kSwiGlu || n_ % 2 == 0, "n", "an even size with swiglu", n_);
}

LinearCall LinearNode::read(const Call& call) const {
  const Tensor x = call.input(0, "x", {-1, k_});
  LinearCall linear;
  linear.weight = weight(call);
  linear.epilogue = epilogue_;
  linear.rows = x.shape[0];
  linear.packed = x.data;
  if (epilogue_ == Epilogue::kResidual) {
    linear.residual = call.input(4, "residual", {linear.rows, n_}).as<float>();
  }
  linear.y = static_cast<float*>(call.output(0, {linear.rows, width()}));
  return linear;
}

LinearWeight LinearNode::weight(const Call& call) const {
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

}  // namespace stepguard
