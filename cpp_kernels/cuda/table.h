// The library of GPU kernels as a table of functions: what a host program, which is built without
// CUDA, sees of it. The library is opened with dlopen when a GPU is asked for.
#pragma once

#include "ops.h"

namespace stepguard::cuda {

// Changes with the table and with every struct that its functions take.
constexpr uint32_t kTableVersion = 2;

// clang-format off
#define STEPGUARD_CUDA_OPS(X)                                                            \
  X(rms_norm) X(embed) X(gather) X(read_out) X(read_rows) X(best_bytes) X(best)          \
  X(linear_packed_bytes) X(linear_pack) X(linear) X(linear_plain)                        \
  X(rotary) X(attention_prepare) X(attention) X(copy_page) X(sigmoid_gate)               \
  X(delta_prepare) X(delta_rule) X(read_words)
// clang-format on

struct Table {
  uint32_t version;
  bool on_host;  // device memory is the host's: an emulation
  // Why no GPU can be used, or null; the text stays. To be asked before anything else.
  Problem (*problem)();
  // The GPU: its name, compute capability and memory.
  const char* (*describe)();
  Problem (*memory)(size_t* free, size_t* total);
  Problem (*allocate)(size_t bytes, void** memory);
  void (*release)(void* memory);
  // In the order of the stream. The host's memory may be changed at once after an upload, and read
  // once `wait` has returned after a download.
  Problem (*upload)(Stream stream, void* target, const void* source, size_t bytes);
  Problem (*download)(Stream stream, void* target, const void* source, size_t bytes);
  Problem (*clear)(Stream stream, void* target, size_t bytes);
  // Until all work of the stream is done. What went wrong in a kernel shows here.
  Problem (*wait)(Stream stream);
#define STEPGUARD_CUDA_MEMBER(op) decltype(&cuda::op) op;
  STEPGUARD_CUDA_OPS(STEPGUARD_CUDA_MEMBER)
#undef STEPGUARD_CUDA_MEMBER
};

// The only symbol of the library: const Table* stepguard_cuda_table().
constexpr const char* kTableSymbol = "stepguard_cuda_table";

}  // namespace stepguard::cuda
