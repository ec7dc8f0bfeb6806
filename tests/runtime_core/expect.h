// A check that names the line and both values; the program fails when any check failed.
#pragma once

#include <cstdio>

inline int& failures() {
  static int count = 0;
  return count;
}

#define EXPECT_EQ(got, wanted)                                                               \
  do {                                                                                       \
    const auto got_ = static_cast<long long>(got);                                           \
    const auto wanted_ = static_cast<long long>(wanted);                                     \
    if (got_ != wanted_) {                                                                   \
      ++failures();                                                                          \
      std::printf("%s:%d: %s: expected %lld, got %lld\n", __FILE__, __LINE__, #got, wanted_, \
                  got_);                                                                     \
    }                                                                                        \
  } while (false)

#define EXPECT_TRUE(condition) EXPECT_EQ(static_cast<bool>(condition), true)
