// The library that is opened for a GPU. It links no CUDA library: the runtime is in it, and opens
// the driver at the first call.
#include <cuda_runtime.h>

#include <string>

#include "table.h"

namespace stepguard::cuda {
namespace {

Problem text_of(cudaError_t error) {
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

cudaStream_t stream_of(Stream stream) { return static_cast<cudaStream_t>(stream); }

__global__ void nothing() {}

// The first GPU is ours, as it is that of ONNX Runtime's session. A caller's thread may have chosen
// another: arenas are made, saved and restored on it.
constexpr int kGpu = 0;

class OnTheGpu {
 public:
  OnTheGpu() {
    if (cudaGetDevice(&before_) != cudaSuccess) before_ = kGpu;
    if (before_ != kGpu) cudaSetDevice(kGpu);
  }
  ~OnTheGpu() {
    if (before_ != kGpu) cudaSetDevice(before_);
  }
  OnTheGpu(const OnTheGpu&) = delete;
  OnTheGpu& operator=(const OnTheGpu&) = delete;

 private:
  int before_ = kGpu;
};

std::string number(int value) { return std::to_string(value); }

// Texts are made once: a caller keeps the pointer.
struct Device {
  std::string problem, description;

  Device() {
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error == cudaErrorInsufficientDriver || error == cudaErrorStubLibrary) {
      problem = "no NVIDIA driver for CUDA " + number(CUDART_VERSION / 1000) + "." +
                number(CUDART_VERSION % 1000 / 10) + " or later (libcuda.so.1)";
    } else if (error != cudaSuccess) {
      problem = std::string("no GPU: ") + cudaGetErrorString(error);
    } else if (count == 0) {
      problem = "no GPU: the driver finds none";
    } else {
      look();
    }
  }

  void look() {
    const OnTheGpu here;
    cudaDeviceProp device;
    cudaFuncAttributes attributes;
    cudaError_t error = cudaGetDeviceProperties(&device, kGpu);
    if (error != cudaSuccess) {
      problem = std::string("no GPU: ") + cudaGetErrorString(error);
      return;
    }
    description = std::string(device.name) + ", compute capability " + number(device.major) + "." +
                  number(device.minor) + ", " +
                  number(static_cast<int>(device.totalGlobalMem >> 20)) + " MiB";
    error = cudaFuncGetAttributes(&attributes, nothing);
    if (error != cudaSuccess) {
      problem = description + ": expected at least 7.5 (" + cudaGetErrorString(error) + ")";
    }
  }
};

const Device& device() {
  static const Device found;
  return found;
}

Problem problem() { return device().problem.empty() ? nullptr : device().problem.c_str(); }

const char* describe() { return device().description.c_str(); }

Problem memory(size_t* free, size_t* total) {
  const OnTheGpu here;
  return text_of(cudaMemGetInfo(free, total));
}

Problem allocate(size_t bytes, void** memory) {
  const OnTheGpu here;
  const cudaError_t error = cudaMalloc(memory, bytes);
  // Else the next launch would find the error of this call.
  if (error != cudaSuccess) cudaGetLastError();
  return text_of(error);
}

void release(void* memory) {
  const OnTheGpu here;
  cudaFree(memory);
}

// The host's memory is pageable: it is staged before the call returns.
Problem upload(Stream stream, void* target, const void* source, size_t bytes) {
  const OnTheGpu here;
  return text_of(cudaMemcpyAsync(target, source, bytes, cudaMemcpyHostToDevice, stream_of(stream)));
}

Problem download(Stream stream, void* target, const void* source, size_t bytes) {
  const OnTheGpu here;
  return text_of(cudaMemcpyAsync(target, source, bytes, cudaMemcpyDeviceToHost, stream_of(stream)));
}

Problem clear(Stream stream, void* target, size_t bytes) {
  const OnTheGpu here;
  return text_of(cudaMemsetAsync(target, 0, bytes, stream_of(stream)));
}

Problem wait(Stream stream) {
  const OnTheGpu here;
  return text_of(cudaStreamSynchronize(stream_of(stream)));
}

#define STEPGUARD_CUDA_ENTRY(op) op,
const Table kTable = {kTableVersion, false,    problem, describe,
                      memory,        allocate, release, upload,
                      download,      clear,    wait,    STEPGUARD_CUDA_OPS(STEPGUARD_CUDA_ENTRY)};
#undef STEPGUARD_CUDA_ENTRY

}  // namespace
}  // namespace stepguard::cuda

extern "C" __attribute__((visibility("default"))) const stepguard::cuda::Table*
stepguard_cuda_table() {
  return &stepguard::cuda::kTable;
}
