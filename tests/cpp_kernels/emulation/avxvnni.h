// The intrinsics of AVX-VNNI in plain loops, included before the files that use them.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace stepguard_emulation {
namespace {

// Lanes of a vector as numbers of another type.
template <class Number, class Vector>
struct Lanes {
  static constexpr int kCount = sizeof(Vector) / sizeof(Number);
  Number of[kCount];

  explicit Lanes(Vector v) { std::memcpy(of, &v, sizeof v); }
  Vector vector() const {
    Vector v;
    std::memcpy(&v, of, sizeof v);
    return v;
  }
};

// sum[i] += the products of `w` and `x` that lie in the same 32 bits, modulo 2^32.
template <class W, class X, class Vector>
Vector dot(Vector sum, Vector w, Vector x) {
  constexpr int kEach = 4 / sizeof(W);
  Lanes<uint32_t, Vector> sums(sum);
  const Lanes<W, Vector> ws(w);
  const Lanes<X, Vector> xs(x);
  for (int i = 0; i < sums.kCount; ++i) {
    for (int j = 0; j < kEach; ++j) {
      const int product = int{ws.of[kEach * i + j]} * int{xs.of[kEach * i + j]};
      sums.of[i] += static_cast<uint32_t>(product);
    }
  }
  return sums.vector();
}

}  // namespace
}  // namespace stepguard_emulation

#undef _mm256_dpbusd_avx_epi32
#undef _mm256_dpwssd_avx_epi32
#define _mm256_dpbusd_avx_epi32 stepguard_emulation::dot<uint8_t, int8_t, __m256i>
#define _mm256_dpwssd_avx_epi32 stepguard_emulation::dot<int16_t, int16_t, __m256i>
