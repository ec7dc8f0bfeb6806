// Which tables this build has and this machine can run.
#include <cstring>
#include <iterator>
#include <string>

#include "amx/table.h"
#include "avx2/table.h"
#include "avx512/table.h"
#include "avxvnni/table.h"
#include "cpu_features.h"
#include "kernels.h"
#include "neon/table.h"
#include "reference/table.h"

namespace stepguard {
namespace {

// A table that some build of stepguard knows, best first.
struct Candidate {
  const char* name;
  const KernelTable* table;  // null where the build lacks it
  std::string (*missing)(const CpuFeatures&);
};

// The build says which tables it has: HAVE_avx2 is 1 or 0.
#define STEPGUARD_CANDIDATE(isa) {#isa, HAVE_##isa ? &isa::kTable : nullptr, missing_for_##isa}

const Candidate kCandidates[] = {
    STEPGUARD_CANDIDATE(amx),
    STEPGUARD_CANDIDATE(avx512),
    STEPGUARD_CANDIDATE(avxvnni),
    STEPGUARD_CANDIDATE(avx2),
    STEPGUARD_CANDIDATE(neon),
    {"generic", &reference::kTable, [](const CpuFeatures&) { return std::string(); }},
};

struct Available {
  const KernelTable* tables[std::size(kCandidates)] = {};
  size_t count = 0;
  std::string problems[std::size(kCandidates)];  // empty for a table that is listed

  Available() {
    const CpuFeatures features = detect_cpu();
    for (size_t i = 0; i < std::size(kCandidates); ++i) {
      const Candidate& candidate = kCandidates[i];
      if (candidate.table == nullptr) {
        problems[i] = "not in this build";
      } else if (const std::string missing = candidate.missing(features); !missing.empty()) {
        problems[i] = "this CPU lacks " + missing;
      } else {
        tables[count++] = candidate.table;
      }
    }
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
  for (size_t i = 0; i < std::size(kCandidates); ++i) {
    if (std::strcmp(kCandidates[i].name, name) != 0) continue;
    const std::string& problem = available().problems[i];
    return problem.empty() ? nullptr : problem.c_str();
  }
  return "unknown name";
}

}  // namespace stepguard
