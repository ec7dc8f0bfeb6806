// The tensors of the fake ONNX Runtime.
#include <cstring>
#include <new>

#include "fake_ort.h"

namespace stepguard::fake {

size_t element_bytes(ONNXTensorElementDataType type) {
  switch (type) {
    case kOrtUint8:
    case kOrtInt8:
      return 1;
    case kOrtFloat16:
      return 2;
    default:
      return 4;
  }
}

std::unique_ptr<OrtValue> make_tensor(ONNXTensorElementDataType type, std::vector<int64_t> shape) {
  size_t bytes = element_bytes(type);
  for (const int64_t size : shape) {
    if (size < 0 || __builtin_mul_overflow(bytes, static_cast<size_t>(size), &bytes)) {
      throw std::bad_alloc();
    }
  }
  constexpr size_t kMost = size_t{64} << 20;
  void* data = nullptr;
  if (bytes > kMost || posix_memalign(&data, 64, bytes) != 0) throw std::bad_alloc();
  std::memset(data, 0xFF, bytes);
  auto value = std::make_unique<OrtValue>();
  value->info = {type, std::move(shape)};
  value->data = data;
  value->own.reset(data);
  return value;
}

}  // namespace stepguard::fake
