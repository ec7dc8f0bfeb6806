#include "cpu_features.h"

#if defined(__x86_64__)
#include <cpuid.h>

#include <cstdint>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace stepguard {
namespace {

#if defined(__x86_64__)
// Written out because the intrinsic wants -mxsave for the whole file.
uint64_t saved_state() {
  uint32_t low = 0;
  uint32_t high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
}

// Linux keeps tiles only for processes that have asked for them.
bool tiles_permitted() {
#if defined(__linux__) && defined(SYS_arch_prctl)
  constexpr int kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr int kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

void detect_newer(CpuFeatures& features, uint64_t saved) {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return;
  const auto bit = [](unsigned word, int number) { return (word >> number & 1U) != 0; };
  features.avx2 = bit(b, 5);
  features.avx512f = bit(b, 16);
  features.avx512dq = bit(b, 17);
  features.avx512bw = bit(b, 30);
  features.avx512vl = bit(b, 31);
  features.avx512_vnni = bit(c, 11);
  features.amx_bf16 = bit(d, 22);
  features.amx_tile = bit(d, 24);
  features.amx_int8 = bit(d, 25);
  if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0) {
    features.avx_vnni = bit(a, 4);
    features.avx512_bf16 = bit(a, 5);
  }
  constexpr uint64_t kZmm = 0xE6;       // with masks, xmm and ymm
  constexpr uint64_t kTiles = 0x60000;  // their shapes and their data
  features.zmm_saved = (saved & kZmm) == kZmm;
  features.tiles_saved = features.amx_tile && (saved & kTiles) == kTiles && tiles_permitted();
}
#endif

class Missing {
 public:
  void need(bool present, const char* name) {
    if (present) return;
    if (!names_.empty()) names_ += ", ";
    names_ += name;
  }
  const std::string& names() const { return names_; }

 private:
  std::string names_;
};

void need_avx2(const CpuFeatures& features, Missing& missing) {
  missing.need(features.avx2, "avx2");
  missing.need(features.fma, "fma");
  missing.need(features.f16c, "f16c");
  missing.need(features.ymm_saved, "ymm registers saved by the operating system");
}

void need_avx512(const CpuFeatures& features, Missing& missing) {
  need_avx2(features, missing);
  missing.need(features.avx512f, "avx512f");
  missing.need(features.avx512bw, "avx512bw");
  missing.need(features.avx512vl, "avx512vl");
  missing.need(features.avx512dq, "avx512dq");
  missing.need(features.avx512_vnni, "avx512_vnni");
  missing.need(features.zmm_saved, "zmm registers saved by the operating system");
}

}  // namespace

#if defined(__x86_64__)
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
  const uint64_t saved = xgetbv ? saved_state() : 0;
  features.ymm_saved = (saved & 6U) == 6U;
  detect_newer(features, saved);
  return features;
}
#elif defined(__aarch64__) && defined(__linux__)
CpuFeatures detect_cpu() {
  constexpr unsigned long kDot = 1UL << 20;  // HWCAP_ASIMDDP
  CpuFeatures features;
  features.arm_dot = (getauxval(AT_HWCAP) & kDot) != 0;
  return features;
}
#else
CpuFeatures detect_cpu() { return {}; }
#endif

std::string missing_for_avx2(const CpuFeatures& features) {
  Missing missing;
  need_avx2(features, missing);
  return missing.names();
}

std::string missing_for_avxvnni(const CpuFeatures& features) {
  Missing missing;
  need_avx2(features, missing);
  missing.need(features.avx_vnni, "avx_vnni");
  return missing.names();
}

std::string missing_for_avx512(const CpuFeatures& features) {
  Missing missing;
  need_avx512(features, missing);
  return missing.names();
}

std::string missing_for_amx(const CpuFeatures& features) {
  Missing missing;
  need_avx512(features, missing);
  missing.need(features.avx512_bf16, "avx512_bf16");
  missing.need(features.amx_tile, "amx_tile");
  missing.need(features.amx_int8, "amx_int8");
  missing.need(features.amx_bf16, "amx_bf16");
  missing.need(features.tiles_saved, "tiles permitted by the operating system");
  return missing.names();
}

std::string missing_for_neon(const CpuFeatures& features) {
  Missing missing;
  missing.need(features.arm_dot, "asimddp");
  return missing.names();
}

}  // namespace stepguard
