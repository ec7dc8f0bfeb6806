// A planner with a pool of pages and no model: forwards give numbers that are made up.
#pragma once

#include <numeric>

#include "expect.h"
#include "planner.h"

namespace stepguard {

constexpr int64_t kContext = 20000;

struct World {
  explicit World(int pages = 64, int64_t chunk = 100)
      : pool(std::make_shared<PagePool>(pages)),
        root(std::make_shared<const State>(pool, std::vector<int32_t>{}, 0)),
        planner(pool, kContext, chunk) {}
  std::shared_ptr<PagePool> pool;
  StatePtr root;
  Planner planner;

  JobPtr add(std::vector<SegmentSpec> specs) {
    auto job = std::make_shared<Job>(std::move(specs));
    planner.add(job);
    return job;
  }
  // Runs one forward whose logits count up from 1 and gives it back.
  Forward step() {
    Forward forward = planner.plan();
    std::vector<float> logits(forward.read_ids.size()), hidden(forward.reads.size());
    std::iota(logits.begin(), logits.end(), 1.0F);
    if (!forward.empty())
      planner.complete(forward, {logits.data(), hidden.data(), 1, nullptr, nullptr});
    return forward;
  }
};

inline SegmentSpec segment(int tokens, StatePtr parent, bool keep = false, int reads = 0) {
  SegmentSpec spec;
  spec.tokens.assign(static_cast<size_t>(tokens), 7);
  spec.parent = std::move(parent);
  spec.keep = keep;
  spec.read.assign(static_cast<size_t>(reads), 3);
  return spec;
}

inline SegmentSpec child(int tokens, int parent, bool keep = false, int reads = 0) {
  SegmentSpec spec = segment(tokens, nullptr, keep, reads);
  spec.parent_index = parent;
  return spec;
}

}  // namespace stepguard
