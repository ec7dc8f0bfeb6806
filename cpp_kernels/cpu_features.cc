#include "cpu_features.h"

#if defined(__x86_64__)
#include <cpuid.h>

#include <cstdint>
#endif

namespace stepguard {

#if defined(__x86_64__)
namespace {

// Written out because the intrinsic wants -mxsave for the whole file.
uint64_t saved_state() {
  uint32_t low = 0;
  uint32_t high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
}

}  // namespace

CpuFeatures detect_cpu() {
  CpuFeatures features;
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0) return features;
  features.fma = (c & (1U << 12)) != 0;
  features.f16c = (c & (1U << 29)) != 0;
  const bool xgetbv = (c & (1U << 27)) != 0;
  features.ymm_saved = xgetbv && (saved_state() & 6U) == 6U;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) != 0) features.avx2 = (b & (1U << 5)) != 0;
  return features;
}
#else
CpuFeatures detect_cpu() { return {}; }
#endif

std::string missing_for_avx2(const CpuFeatures& features) {
  std::string missing;
  const auto need = [&missing](bool present, const char* name) {
    if (present) return;
    if (!missing.empty()) missing += ", ";
    missing += name;
  };
  need(features.avx2, "avx2");
  need(features.fma, "fma");
  need(features.f16c, "f16c");
  need(features.ymm_saved, "ymm registers saved by the operating system");
  return missing;
}

}  // namespace stepguard
