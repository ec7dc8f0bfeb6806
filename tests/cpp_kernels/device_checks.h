// What the tests of a library of GPU kernels share: numbers, and comparisons that are counted.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "cuda/table.h"

namespace stepguard::device_tests {

using Floats = std::vector<float>;
using Ids = std::vector<int32_t>;

inline int& failures() {
  static int count = 0;
  return count;
}

inline void check(bool good, const std::string& what) {
  if (good) return;
  ++failures();
  std::printf("FAILED %s\n", what.c_str());
}

inline bool same_bits(const Floats& a, const Floats& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

inline bool close(float got, double wanted, double tolerance) {
  return std::fabs(got - wanted) <= tolerance * (1.0 + std::fabs(wanted));
}

inline Floats random_floats(int64_t count) {
  static std::mt19937 engine(23);
  std::normal_distribution<float> normal;
  Floats values(static_cast<size_t>(count));
  for (float& value : values) value = normal(engine);
  return values;
}

inline Floats room(int64_t count) {
  return Floats(static_cast<size_t>(count), std::numeric_limits<float>::quiet_NaN());
}

void test_rows(const cuda::Table& library);
void test_tiles(const cuda::Table& library);
void test_attention(const cuda::Table& library);

}  // namespace stepguard::device_tests
