// How fast a GPU reads its memory.
#pragma once

#include <cstdint>
#include <string>

namespace stepguard {

// Bytes a second, the best of some reads of `bytes` bytes, a multiple of 16, by the library of GPU
// kernels at `path`. Throws Error where there is no GPU, std::bad_alloc when they find no room on
// it, std::runtime_error when it refuses, std::invalid_argument for bytes that make no sense.
double measure_cuda_bandwidth(const std::string& path, int64_t bytes);

}  // namespace stepguard
