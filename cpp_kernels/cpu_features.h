// What the CPU offers and the operating system saves on a context switch.
#pragma once

#include <string>

namespace stepguard {

struct CpuFeatures {
  bool avx2 = false;
  bool fma = false;
  bool f16c = false;
  bool ymm_saved = false;  // the operating system keeps the upper halves of vector registers
};

// Features of this machine; all false where the CPU is not an x86.
CpuFeatures detect_cpu();

// What the avx2 table needs and `features` lacks, as "avx2, fma"; empty if nothing.
std::string missing_for_avx2(const CpuFeatures& features);

}  // namespace stepguard
