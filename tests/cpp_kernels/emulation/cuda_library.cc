// The GPU library of the emulation: the same kernels as loops, and the host's memory as device
// memory. Memory that is not set begins as NaN.
#include <cstdlib>
#include <cstring>

#include "cuda/table.h"

namespace stepguard::cuda {
namespace {

Problem no_problem() { return nullptr; }

const char* describe() { return "emulated on the host"; }

Problem memory(size_t* free, size_t* total) {
  *free = *total = size_t{1} << 40;
  return nullptr;
}

Problem allocate(size_t bytes, void** memory) {
  *memory = std::malloc(bytes);
  if (*memory == nullptr) return "out of memory";
  std::memset(*memory, 0xFF, bytes);
  return nullptr;
}

void release(void* memory) { std::free(memory); }

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
const Table kTable = {
    kTableVersion, true, no_problem, describe, memory, allocate,
    release,       copy, copy,       clear,    wait,   STEPGUARD_CUDA_OPS(STEPGUARD_CUDA_ENTRY)};
#undef STEPGUARD_CUDA_ENTRY

}  // namespace
}  // namespace stepguard::cuda

extern "C" __attribute__((visibility("default"))) const stepguard::cuda::Table*
stepguard_cuda_table() {
  return &stepguard::cuda::kTable;
}
