// A library of GPU kernels behind the interface of the CPU tables, so that every test of those runs
// on it: each call moves its operands to the device and the result back.
#pragma once

#include <string>

#include "cuda/table.h"
#include "kernels.h"

namespace stepguard {

// The table over `library`, of which there is one a process. Whatever goes wrong ends the process
// with a message: it is for tests.
const KernelTable* device_table(const cuda::Table& library, const char* name);

// Opens the library at `path`; empty and a message in `problem` where it cannot be used.
const cuda::Table* open_cuda(const std::string& path, std::string& problem);

}  // namespace stepguard
