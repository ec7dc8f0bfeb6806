// The best of a row of logits, and the logarithm of its share. Parts of 256 logits first, then the
// parts; both in an order that depends on the number of logits alone.
#include "device.h"

namespace stepguard::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kPart = kThreads;  // logits

// The best of some logits, the first of equals, and the sum of exp(logit - best) over them.
struct Best {
  double sum;
  float logit;
  int32_t id;
};

// A logit that is no number is never the best; it makes the sum no number.
SG_DEVICE bool better(float logit, int32_t id, const Best& than) {
  return logit > than.logit || (logit == than.logit && id < than.id);
}

SG_DEVICE void choose(Best* best) {
  for (int width = kThreads / 2; width > 0; width /= 2) {
    SG_THREADS(t) {
      if (t < width && better(best[t + width].logit, best[t + width].id, best[t])) {
        best[t] = best[t + width];
      }
    }
  }
}

constexpr int32_t kNone = INT32_MAX;

SG_KERNEL best_of_parts(const float* logits, int64_t parts, int64_t count, Best* found) {
  SG_SHARED Best best[kThreads];
  SG_SHARED double sums[kThreads];
  const int64_t row = block_index() / parts;
  const int64_t first = block_index() % parts * kPart;
  SG_THREADS(t) {
    best[t] = {0.0, -INFINITY, kNone};
    const float logit = first + t < count ? logits[row * count + first + t] : -INFINITY;
    // A row of nothing but -Inf still has a best, its first.
    if (first + t < count && logit >= -INFINITY) {
      best[t].logit = logit;
      best[t].id = static_cast<int32_t>(first + t);
    }
  }
  choose(best);
  SG_THREADS(t) {
    sums[t] = 0.0;
    if (first + t < count) {
      sums[t] = exp(static_cast<double>(logits[row * count + first + t]) -
                    static_cast<double>(best[0].logit));
    }
  }
  sum_threads<kThreads>(sums);
  SG_THREADS(t) {
    if (t == 0) found[block_index()] = {sums[0], best[0].logit, best[0].id};
  }
}

SG_KERNEL best_of_rows(const Best* found, int64_t parts, int32_t* ids, float* scores) {
  SG_SHARED Best best[kThreads];
  SG_SHARED double sums[kThreads];
  const Best* of = found + block_index() * parts;
  SG_THREADS(t) {
    best[t] = {0.0, -INFINITY, kNone};
    for (int64_t i = t; i < parts; i += kThreads) {
      if (better(of[i].logit, of[i].id, best[t])) best[t] = of[i];
    }
  }
  choose(best);
  SG_THREADS(t) {
    sums[t] = 0.0;
    for (int64_t i = t; i < parts; i += kThreads) {
      sums[t] +=
          of[i].sum * exp(static_cast<double>(of[i].logit) - static_cast<double>(best[0].logit));
    }
  }
  sum_threads<kThreads>(sums);
  SG_THREADS(t) {
    if (t != 0) continue;
    // Where no logit is a number there is none: 0, with a score that is none either.
    ids[block_index()] = best[0].id == kNone ? 0 : best[0].id;
    scores[block_index()] = static_cast<float>(-log(sums[0]));
  }
}

int64_t parts_of(int64_t count) { return (count + kPart - 1) / kPart; }

}  // namespace

size_t best_bytes(int64_t rows, int64_t count) {
  return static_cast<size_t>(rows * parts_of(count)) * sizeof(Best);
}

Problem best(Stream stream, const float* logits, int64_t rows, int64_t count, void* work,
             int32_t* ids, float* scores) {
  auto* found = static_cast<Best*>(work);
  const int64_t parts = parts_of(count);
  const Problem problem =
      launch(best_of_parts, rows * parts, kThreads, stream, logits, parts, count, found);
  if (problem != nullptr) return problem;
  return launch(best_of_rows, rows, kThreads, stream, found, parts, ids, scores);
}

}  // namespace stepguard::cuda
