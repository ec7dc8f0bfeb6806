// What this machine can do at most: the numbers that speeds are measured by.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace stepguard {

// Name and 10^9 a second, the best of many short runs on `threads` threads: "memory" (bytes read
// from a buffer that fits no cache), and for each instruction set that this CPU has, like "avx2",
// the multiply-adds of its kernels counted as two operations: "avx2/fp32" (fused multiply-add),
// "avx2/int8" (8 bits by 8 with its addition) and "avx2/int16" (16 by 16). Takes about a second.
std::vector<std::pair<std::string, double>> measure_peaks(int threads);

}  // namespace stepguard
