#include "op.h"

namespace stepguard {

void check(const OrtFunctions& ort, OrtStatus* status) {
  if (status == nullptr) return;
  std::string text = ort.GetErrorMessage(status);
  ort.ReleaseStatus(status);
  throw OpError(std::move(text));
}

OrtStatus* op_failure(OpContext& context, const std::string& node, const char* text) noexcept {
  try {
    return context.ort.CreateStatus(ORT_INVALID_ARGUMENT, (node + ": " + text).c_str());
  } catch (...) {  // out of memory while describing a failure
    return context.ort.CreateStatus(ORT_FAIL, "stepguard op failed");
  }
}

void require(bool condition, const char* name, const std::string& expected, int64_t got) {
  if (!condition) {
    throw OpError(std::string(name) + ": expected " + expected + ", got " + std::to_string(got));
  }
}

std::string NodeInfo::name() const {
  size_t size = 0;
  OrtStatus* status = ort_.KernelInfo_GetNodeName(info_, nullptr, &size);
  if (status != nullptr) ort_.ReleaseStatus(status);
  if (size == 0) return "unnamed node";
  std::string text(size, '\0');
  check(ort_, ort_.KernelInfo_GetNodeName(info_, text.data(), &size));
  text.resize(size > 0 ? size - 1 : 0);
  return text;
}

int64_t NodeInfo::integer(const char* attribute) const {
  int64_t value = 0;
  check(ort_, ort_.KernelInfoGetAttribute_int64(info_, attribute, &value));
  return value;
}

float NodeInfo::real(const char* attribute) const {
  float value = 0;
  check(ort_, ort_.KernelInfoGetAttribute_float(info_, attribute, &value));
  return value;
}

std::string NodeInfo::text(const char* attribute) const {
  size_t size = 0;
  OrtStatus* status = ort_.KernelInfoGetAttribute_string(info_, attribute, nullptr, &size);
  if (status != nullptr) ort_.ReleaseStatus(status);
  std::string value(size, '\0');
  check(ort_, ort_.KernelInfoGetAttribute_string(info_, attribute, value.data(), &size));
  value.resize(size > 0 ? size - 1 : 0);
  return value;
}

Tensor Call::input(size_t index) const {
  const OrtFunctions& ort = context_.ort;
  Tensor tensor;
  size_t inputs = 0;
  check(ort, ort.KernelContext_GetInputCount(kernel_, &inputs));
  if (index >= inputs) return tensor;
  const OrtValue* value = nullptr;
  check(ort, ort.KernelContext_GetInput(kernel_, index, &value));
  if (value == nullptr) return tensor;
  OrtTensorTypeAndShapeInfo* info = nullptr;
  check(ort, ort.GetTensorTypeAndShape(value, &info));
  size_t rank = 0;
  OrtStatus* status = ort.GetTensorElementType(info, &tensor.type);
  if (status == nullptr) status = ort.GetDimensionsCount(info, &rank);
  if (status == nullptr) {
    tensor.shape.resize(rank);
    status = ort.GetDimensions(info, tensor.shape.data(), rank);
  }
  ort.ReleaseTensorTypeAndShapeInfo(info);
  check(ort, status);
  check(ort, ort.GetTensorMutableData(const_cast<OrtValue*>(value), &tensor.data));
  return tensor;
}

Tensor Call::input(size_t index, const char* name, std::vector<int64_t> shape) const {
  Tensor tensor = input(index);
  if (!tensor.present()) throw OpError(std::string(name) + ": missing");
  require(tensor.shape.size() == shape.size(), name, std::to_string(shape.size()) + " dimensions",
          static_cast<int64_t>(tensor.shape.size()));
  for (size_t i = 0; i < shape.size(); ++i) {
    require(shape[i] < 0 || tensor.shape[i] == shape[i], name,
            "size " + std::to_string(shape[i]) + " in dimension " + std::to_string(i),
            tensor.shape[i]);
  }
  return tensor;
}

void* Call::output(size_t index, const std::vector<int64_t>& shape) const {
  const OrtFunctions& ort = context_.ort;
  OrtValue* value = nullptr;
  check(ort, ort.KernelContext_GetOutput(kernel_, index, shape.data(), shape.size(), &value));
  void* data = nullptr;
  check(ort, ort.GetTensorMutableData(value, &data));
  return data;
}

void* Call::stream() const {
  void* stream = nullptr;
  check(context_.ort, context_.ort.KernelContext_GetGPUComputeStream(kernel_, &stream));
  return stream;
}

}  // namespace stepguard
