// Integers of 8 columns: those of avx2, and what VNNI does with them.
#pragma once

#include "avxvnni/vec.h"

namespace stepguard::avxvnni {
namespace {

// sum + products of four bytes, w without sign and x with; of two 16-bit numbers.
[[maybe_unused]] inline Integers dot_bytes(Integers sum, Integers w, Integers x) {
  return _mm256_dpbusd_avx_epi32(sum, w, x);
}
[[maybe_unused]] inline Integers dot_shorts(Integers sum, Integers w, Integers x) {
  return _mm256_dpwssd_avx_epi32(sum, w, x);
}

}  // namespace
}  // namespace stepguard::avxvnni

// The steps of a Linear that are made of these.
#include "vector/vnni.h"
