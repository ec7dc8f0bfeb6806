// What the CPU offers and the operating system saves on a context switch.
#pragma once

#include <string>

namespace stepguard {

struct CpuFeatures {
  bool avx2 = false;
  bool fma = false;
  bool f16c = false;
  bool ymm_saved = false;  // the operating system keeps the upper halves of vector registers
  bool avx_vnni = false;
  bool avx512f = false, avx512bw = false, avx512vl = false, avx512dq = false;
  bool avx512_vnni = false, avx512_bf16 = false;
  bool zmm_saved = false;  // it keeps 512-bit registers and masks
  bool amx_tile = false, amx_int8 = false, amx_bf16 = false;
  bool tiles_saved = false;  // it keeps tiles, and this process may use them
  bool arm_dot = false;      // dot products of bytes, of an aarch64
};

// Features of this machine. Asks Linux for the permission to use tiles, which holds for the whole
// process, where the CPU has them.
CpuFeatures detect_cpu();

// What a table needs and `features` lacks, as "avx2, fma"; empty if nothing. Every table of an x86
// needs what those below it need.
std::string missing_for_avx2(const CpuFeatures& features);
std::string missing_for_avxvnni(const CpuFeatures& features);
std::string missing_for_avx512(const CpuFeatures& features);
std::string missing_for_amx(const CpuFeatures& features);
std::string missing_for_neon(const CpuFeatures& features);

}  // namespace stepguard
