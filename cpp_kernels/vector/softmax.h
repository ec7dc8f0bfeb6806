// The online softmax of attention, a block of keys at a time.
#pragma once

#include "vector/math.h"

namespace stepguard::STEPGUARD_TABLE {
namespace {

constexpr float kInfinity = __builtin_inff();

// The vectors of a block, in one order a table: four in pairs, others one after the other.
template <int N>
Vec sum_vectors(const Vec (&v)[N]) {
  if constexpr (N == 4) {
    return add(add(v[0], v[1]), add(v[2], v[3]));
  } else {
    Vec sum = v[0];
#pragma GCC unroll 8
    for (int i = 1; i < N; ++i) sum = add(sum, v[i]);
    return sum;
  }
}

// The new maximum and p = exp(score - maximum) of the first `count` of Keys keys; p of the others
// is zero. Returns what the sums so far are multiplied with. A query has `top` and `total`.
template <int64_t Keys, class Query>
float softmax_step(Query& query, float scale, int64_t count, float* p) {
  constexpr int kScores = Keys / kLanes;
  Vec scores[kScores];
  Vec best = splat(-kInfinity);
#pragma GCC unroll 8
  for (int c = 0; c < kScores; ++c) {
    scores[c] = keep_first(mul(load(p + c * kLanes), splat(scale)), part_of(count, c), -kInfinity);
    best = larger(best, scores[c]);
  }
  const float most = max_lanes(best);
  const float top = most > query.top ? most : query.top;
  // Mostly the maximum stays; e^0 is exactly 1, so the shorter way has the same bits.
  const float factor = top == query.top ? 1.0F : first_lane(exp_lanes(splat(query.top - top)));
#pragma GCC unroll 8
  for (int c = 0; c < kScores; ++c) {
    scores[c] = keep_first(exp_lanes(sub(scores[c], splat(top))), part_of(count, c), 0.0F);
    store(p + c * kLanes, scores[c]);
  }
  query.top = top;
  query.total = query.total * factor + sum_lanes(sum_vectors(scores));
  return factor;
}

}  // namespace
}  // namespace stepguard::STEPGUARD_TABLE
