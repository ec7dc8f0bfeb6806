// What the C++ tests of the kernels run on, and the tests themselves, each of which returns how
// many comparisons failed.
#pragma once

#include <vector>

#include "cuda/table.h"
#include "kernels.h"

namespace stepguard {

using Tables = std::vector<const KernelTable*>;

// The tables of this CPU and the GPU kernels, emulated; the reference is the last.
const Tables& tested_tables();

// The table of that name, or null.
const KernelTable* tested_table(const char* name);

// The emulated library, and whether its blocks and threads run backwards.
const cuda::Table& emulated_cuda();
void emulate_backwards(bool backwards);

int run_table_tests(const Tables& tables = tested_tables());
int run_delta_tests(const Tables& tables = tested_tables());
int run_law_tests(const Tables& tables = tested_tables());
int run_device_tests(const cuda::Table& library = emulated_cuda());

}  // namespace stepguard
