// Which tables this build has and this machine can run.
#include <cstring>
#include <string>

#include "avx2/table.h"
#include "cpu_features.h"
#include "kernels.h"
#include "reference/table.h"

namespace stepguard {
namespace {

// Every name that some build of stepguard knows.
constexpr const char* kNames[] = {"generic", "avx2", "avxvnni", "avx512", "amx", "neon"};

struct Available {
  const KernelTable* tables[2] = {};
  size_t count = 0;
  std::string avx2_problem;  // empty when the avx2 table is listed

  Available() {
#if defined(STEPGUARD_HAVE_AVX2)
    const std::string missing = missing_for_avx2(detect_cpu());
    if (missing.empty()) {
      tables[count++] = &avx2::kTable;
    } else {
      avx2_problem = "this CPU lacks " + missing;
    }
#else
    avx2_problem = "not in this build";
#endif
    tables[count++] = &reference::kTable;
  }
};

const Available& available() {
  static const Available found;
  return found;
}

}  // namespace

const KernelTable* const* available_tables(size_t* count) {
  *count = available().count;
  return available().tables;
}

const KernelTable* find_table(const char* name) {
  for (size_t i = 0; i < available().count; ++i) {
    if (std::strcmp(available().tables[i]->name, name) == 0) return available().tables[i];
  }
  return nullptr;
}

const char* table_problem(const char* name) {
  if (find_table(name) != nullptr) return nullptr;
  if (std::strcmp(name, "avx2") == 0) return available().avx2_problem.c_str();
  for (const char* known : kNames) {
    if (std::strcmp(known, name) == 0) return "not in this build";
  }
  return "unknown name";
}

}  // namespace stepguard
