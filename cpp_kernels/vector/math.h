// Small functions over the vectors of one instruction set. The files of this folder are compiled
// once for each: a vec.h defines the namespace (STEPGUARD_TABLE), the vectors and what is done with
// them, and is included first. Everything that is not a function of the table is in an anonymous
// namespace: a shared inline function compiled for a newer CPU must never be the copy that the
// linker keeps for other callers.
#pragma once

#include "kernels.h"

namespace stepguard::STEPGUARD_TABLE {
namespace {

[[maybe_unused]] inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// Lanes of part `i` of `count` elements.
[[maybe_unused]] inline int64_t part_of(int64_t count, int i) {
  const int64_t left = count - int64_t{i} * kLanes;
  return left < 0 ? 0 : least(left, kLanes);
}

// e^x within about one unit in the last place; 0 at -Inf, Inf at +Inf, NaN stays NaN.
// x = n ln2 + r with |r| <= ln2/2, a polynomial for e^r, and 2^n in two steps, so that results
// down to the smallest subnormal are rounded once.
[[maybe_unused]] inline Vec exp_lanes(Vec x) {
  x = clamp(x, -104.0F, 89.0F);
  const Vec n = nearest(mul(x, splat(1.44269504F)));
  Vec r = fnma(n, splat(0x1.62e4p-1F), x);
  r = fnma(n, splat(0x1.7f7d1cp-20F), r);
  Vec p = splat(1.0F / 5040.0F);
  p = fma(p, r, splat(1.0F / 720.0F));
  p = fma(p, r, splat(1.0F / 120.0F));
  p = fma(p, r, splat(1.0F / 24.0F));
  p = fma(p, r, splat(1.0F / 6.0F));
  p = fma(p, r, splat(0.5F));
  p = fma(mul(p, r), r, r);
  return times_power_of_two(add(p, splat(1.0F)), to_integers(n));
}

// 1 + e^-x: what both of the next divide by.
[[maybe_unused]] inline Vec sigmoid_divisor(Vec x) {
  return add(splat(1.0F), exp_lanes(negative(x)));
}

[[maybe_unused]] inline Vec sigmoid_lanes(Vec x) { return div(splat(1.0F), sigmoid_divisor(x)); }

[[maybe_unused]] inline Vec silu_lanes(Vec x) { return div(x, sigmoid_divisor(x)); }

}  // namespace
}  // namespace stepguard::STEPGUARD_TABLE
