// What the tests of the bitwise law share: numbers, and comparisons of bits that are counted.
#pragma once

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels.h"

namespace stepguard::law_tests {

using Floats = std::vector<float>;

inline int& failures() {
  static int count = 0;
  return count;
}

inline void check_bits(const Floats& got, const Floats& wanted, const std::string& what) {
  if (got.size() == wanted.size() &&
      std::memcmp(got.data(), wanted.data(), got.size() * sizeof(float)) == 0) {
    return;
  }
  ++failures();
  size_t i = 0;
  while (i < std::min(got.size(), wanted.size()) &&
         std::memcmp(&got[i], &wanted[i], sizeof(float)) == 0) {
    ++i;
  }
  std::printf("FAILED %s: element %zu of %zu differs\n", what.c_str(), i, got.size());
}

inline std::mt19937& engine() {
  static std::mt19937 numbers(11);
  return numbers;
}

inline Floats random_floats(int64_t count) {
  std::normal_distribution<float> normal;
  Floats values(static_cast<size_t>(count));
  for (float& value : values) value = normal(engine());
  return values;
}

inline std::vector<uint8_t> random_bytes(int64_t count) {
  std::vector<uint8_t> values(static_cast<size_t>(count));
  for (uint8_t& value : values) value = static_cast<uint8_t>(engine()() >> 8);
  return values;
}

inline int64_t blocks(int64_t size, int64_t block) { return (size + block - 1) / block; }

inline Floats rows_of(const Floats& x, int64_t width, int64_t begin, int64_t end) {
  return {x.begin() + begin * width, x.begin() + end * width};
}

// Every format, activation and epilogue of a table's Linear.
void test_linears(const KernelTable& table);

}  // namespace stepguard::law_tests
