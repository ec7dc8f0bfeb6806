// The GPU library of the emulation: the same kernels as loops, and the host's memory as device
// memory. Memory that is not set begins as NaN. Tests may say how much of it there is, and that it
// passes for a GPU's.
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "cuda/table.h"

namespace stepguard::cuda {
namespace {

Problem no_problem() { return nullptr; }

const char* describe() { return "emulated on the host"; }

// What is left of the device's memory, and the sizes of what was taken.
struct Left {
  std::mutex mutex;
  size_t bytes = size_t{1} << 40;
  std::map<void*, size_t> taken;
};

Left& left() {
  static auto* found = new Left();  // engines may outlive the statics
  return *found;
}

Problem memory(size_t* free, size_t* total) {
  const std::lock_guard<std::mutex> lock(left().mutex);
  *free = left().bytes;
  *total = size_t{1} << 40;
  return nullptr;
}

Problem allocate(size_t bytes, void** memory) {
  const std::lock_guard<std::mutex> lock(left().mutex);
  *memory = bytes <= left().bytes ? std::malloc(bytes) : nullptr;
  if (*memory == nullptr) return "out of memory";
  std::memset(*memory, 0xFF, bytes);
  left().bytes -= bytes;
  left().taken[*memory] = bytes;
  return nullptr;
}

void release(void* memory) {
  const std::lock_guard<std::mutex> lock(left().mutex);
  left().bytes += left().taken[memory];
  left().taken.erase(memory);
  std::free(memory);
}

Problem copy(Stream, void* target, const void* source, size_t bytes) {
  if (bytes != 0) std::memcpy(target, source, bytes);
  return nullptr;
}

Problem clear(Stream, void* target, size_t bytes) {
  std::memset(target, 0, bytes);
  return nullptr;
}

Problem wait(Stream) { return nullptr; }

#define STEPGUARD_CUDA_ENTRY(op) op,
Table table = {kTableVersion, true,     no_problem, describe,
               memory,        allocate, release,    copy,
               copy,          clear,    wait,       STEPGUARD_CUDA_OPS(STEPGUARD_CUDA_ENTRY)};
#undef STEPGUARD_CUDA_ENTRY

}  // namespace
}  // namespace stepguard::cuda

extern "C" __attribute__((visibility("default"))) const stepguard::cuda::Table*
stepguard_cuda_table() {
  return &stepguard::cuda::table;
}

// Bytes that may still be allocated.
extern "C" __attribute__((visibility("default"))) void stepguard_emulated_left(size_t bytes) {
  const std::lock_guard<std::mutex> lock(stepguard::cuda::left().mutex);
  stepguard::cuda::left().bytes = bytes;
}

// Whether sessions are to use ONNX Runtime's provider for GPUs.
extern "C" __attribute__((visibility("default"))) void stepguard_emulated_gpu(bool yes) {
  stepguard::cuda::table.on_host = !yes;
}
