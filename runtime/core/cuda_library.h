// The library of GPU kernels, opened when a GPU is asked for.
#pragma once

#include <string>

#include "cuda/table.h"

namespace stepguard {

// Opens the library at `path`, once. Never released. Throws Error(kRuntimeMissing) when the file
// cannot be opened, is of another version, or no GPU can be used.
const cuda::Table& open_cuda_library(const std::string& path);

}  // namespace stepguard
