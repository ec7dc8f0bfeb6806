// An ONNX Runtime of our own making, for tests: it hands tensors to our operations and knows
// nothing else. Unlike the real one it can be built under a sanitizer, and its tensors end where
// they end, so that a sanitizer sees every byte beyond them.
#pragma once

#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ort/ort_abi.h"

struct OrtStatus {
  OrtErrorCode code;
  std::string text;
};

struct OrtTensorTypeAndShapeInfo {
  ONNXTensorElementDataType type = kOrtFloat;
  std::vector<int64_t> shape;
};

struct OrtTypeInfo {
  OrtTensorTypeAndShapeInfo info;
};

struct OrtValue {
  OrtTensorTypeAndShapeInfo info;
  void* data = nullptr;
  std::unique_ptr<void, decltype(&std::free)> own{nullptr, std::free};
};

struct OrtKernelInfo {
  std::string name;
  std::map<std::string, int64_t> integers;
  std::map<std::string, float> reals;
  std::map<std::string, std::string> texts;
};

struct OrtKernelContext {
  std::vector<const OrtValue*> inputs;  // null: an optional input that is not there
  std::vector<std::unique_ptr<OrtValue>> outputs;
};

namespace stepguard::fake {

size_t element_bytes(ONNXTensorElementDataType type);

// A tensor of its own memory, 64-byte aligned, of exactly its size. Every byte is 0xFF, which no
// operation may leave in its outputs: as float32 it is no number. Throws std::bad_alloc.
std::unique_ptr<OrtValue> make_tensor(ONNXTensorElementDataType type, std::vector<int64_t> shape);

// The functions of ort_abi_list.inc at their places.
const void* const* functions();

}  // namespace stepguard::fake
