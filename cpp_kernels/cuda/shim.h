// What the kernels of this folder are written in. A kernel is a sequence of phases: a phase is what
// every thread of a block does before the next barrier.
//
//   SG_KERNEL double_row(const float* x, float* y) {
//     SG_SHARED float row[64];
//     SG_THREADS(t) { row[t] = x[block_index() * 64 + t]; }
//     SG_THREADS(t) { y[block_index() * 64 + t] = row[63 - t] * 2.0F; }
//   }
//   launch(double_row, rows, 64, stream, x, y);
//
// nvcc makes CUDA of it: a phase ends with __syncthreads(). Any other compiler makes loops of it,
// over blocks and, in each phase, over threads; so indexing and arithmetic are tested on every
// machine. A barrier cannot be forgotten; what two threads do in one phase must not depend on their
// order, and the emulation can run them backwards to show that it does not.
//
// SG_LANES is a phase of which only threads of the same warp need anything.
//
// Rules: no return and no break inside a phase (`continue` ends it for a thread). A phase stands
// where every thread of the block comes by. What a thread keeps from one phase to the next is a
// PerThread. Shared memory is not initialised. SG_DEVICE marks functions and static members that
// kernels call, SG_MEMBER other members, SG_BOTH what the host calls too.
#pragma once

#include "ops.h"

namespace stepguard::cuda {

constexpr int kMostThreads = 256;  // of a block
constexpr int kWarp = 32;

}  // namespace stepguard::cuda

#ifdef __CUDACC__

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstring>

#define SG_KERNEL static __global__ void
#define SG_DEVICE static __device__ __forceinline__
#define SG_MEMBER __device__ __forceinline__
#define SG_BOTH static __host__ __device__ __forceinline__
#define SG_SHARED __shared__
#define SG_UNROLL _Pragma("unroll")
#define SG_THREADS(t)                                                    \
  for (int t = static_cast<int>(threadIdx.x), sg_once = 1; sg_once != 0; \
       sg_once = 0, __syncthreads())

#define SG_LANES(t) \
  for (int t = static_cast<int>(threadIdx.x), sg_once = 1; sg_once != 0; sg_once = 0, __syncwarp())

namespace stepguard::cuda {

template <class T>
struct PerThread {
  T value;
  __device__ __forceinline__ T& operator[](int) { return value; }
};

SG_DEVICE int64_t block_index() { return blockIdx.x; }

SG_DEVICE float half_value(uint16_t bits) { return __half2float(__ushort_as_half(bits)); }
SG_DEVICE uint16_t half_bits(float value) { return __half_as_ushort(__float2half_rn(value)); }

// total + the products of four bytes of `a` (signed, or not) with four signed bytes of `b`.
SG_DEVICE int32_t dot_bytes(uint32_t a, uint32_t b, int32_t total) {
  return __dp4a(static_cast<int>(a), static_cast<int>(b), total);
}
SG_DEVICE int32_t dot_unsigned(uint32_t a, uint32_t b, int32_t total) {
  int32_t sum;
  asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(sum) : "r"(a), "r"(b), "r"(total));
  return sum;
}

// Runs `kernel` in `blocks` blocks. Returns why that was refused, or null; what goes wrong while it
// runs shows when the stream is waited for.
template <class... Parameters, class... Arguments>
const char* launch(void (*kernel)(Parameters...), int64_t blocks, int threads, Stream stream,
                   const Arguments&... arguments) {
  if (blocks == 0) return nullptr;
  if (blocks > INT32_MAX) return "more blocks than a grid takes";
  kernel<<<static_cast<unsigned>(blocks), static_cast<unsigned>(threads), 0,
           static_cast<cudaStream_t>(stream)>>>(arguments...);
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace stepguard::cuda

#else

#include <cmath>
#include <cstring>

#define SG_KERNEL static void
#define SG_DEVICE static inline
#define SG_MEMBER inline
#define SG_BOTH static inline
#define SG_SHARED
#define SG_UNROLL
#define SG_THREADS(t)                                                                          \
  for (int sg_left = emulated.threads, t = emulated.backwards ? sg_left - 1 : 0; sg_left != 0; \
       --sg_left, t += emulated.backwards ? -1 : 1)

#define SG_LANES(t) SG_THREADS(t)

namespace stepguard::cuda {

// The block that runs, and the order of its threads.
struct Emulated {
  int64_t block = 0;
  int threads = 0;
  bool backwards = false;
};
inline thread_local Emulated emulated;

template <class T>
class PerThread {
 public:
  T& operator[](int thread) { return values_[thread]; }

 private:
  T values_[kMostThreads];
};

SG_DEVICE int64_t block_index() { return emulated.block; }

SG_DEVICE float half_value(uint16_t bits) { return half_to_float(bits); }
SG_DEVICE uint16_t half_bits(float value) { return float_to_half(value); }

SG_DEVICE int32_t dot_bytes(uint32_t a, uint32_t b, int32_t total) {
  for (int i = 0; i < 32; i += 8) {
    total += static_cast<int8_t>(a >> i) * static_cast<int8_t>(b >> i);
  }
  return total;
}
SG_DEVICE int32_t dot_unsigned(uint32_t a, uint32_t b, int32_t total) {
  for (int i = 0; i < 32; i += 8) {
    total += static_cast<uint8_t>(a >> i) * static_cast<int8_t>(b >> i);
  }
  return total;
}

template <class... Parameters, class... Arguments>
const char* launch(void (*kernel)(Parameters...), int64_t blocks, int threads, Stream,
                   const Arguments&... arguments) {
  if (threads > kMostThreads) return "more threads than a block takes";
  emulated.threads = threads;
  for (int64_t i = 0; i < blocks; ++i) {
    emulated.block = emulated.backwards ? blocks - 1 - i : i;
    kernel(arguments...);
  }
  return nullptr;
}

}  // namespace stepguard::cuda

#endif
