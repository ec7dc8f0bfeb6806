#include "tested_tables.h"

#include <cstring>

#include "cuda/shim.h"
#include "device_table.h"

extern "C" const stepguard::cuda::Table* stepguard_cuda_table();

namespace stepguard {

const Tables& tested_tables() {
  static const Tables tables = [] {
    size_t count = 0;
    const KernelTable* const* found = available_tables(&count);
    Tables all(found, found + count);
    all.insert(all.end() - 1, device_table(emulated_cuda(), "cuda-emulated"));
    return all;
  }();
  return tables;
}

const KernelTable* tested_table(const char* name) {
  for (const KernelTable* table : tested_tables()) {
    if (std::strcmp(table->name, name) == 0) return table;
  }
  return nullptr;
}

const cuda::Table& emulated_cuda() { return *stepguard_cuda_table(); }

void emulate_backwards(bool backwards) { cuda::emulated.backwards = backwards; }

}  // namespace stepguard
