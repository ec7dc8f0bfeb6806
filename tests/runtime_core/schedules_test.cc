// Thousands of random forests, deadlines, cancellations and failures in small pools of pages and
// slots: everything ends once, children after their parents, and nothing is lost.
#include <algorithm>
#include <random>

#include "expect.h"
#include "planner.h"

using namespace stepguard;

namespace {

constexpr int64_t kContext = 400, kChunk = 64;

class Schedule {
 public:
  Schedule(uint32_t seed, bool hybrid)
      : random_(seed),
        pool_(std::make_shared<PagePool>(24)),
        slots_(hybrid ? std::make_shared<PagePool>(5) : nullptr),
        planner_(pool_, kContext, kChunk, slots_) {
    states_.push_back(std::make_shared<const State>(pool_, std::vector<int32_t>{}, 0));
  }

  void run() {
    for (now_ = 0; now_ < 40; ++now_) {
      for (int64_t i = below(3); i > 0; --i) add();
      if (!jobs_.empty() && below(8) == 0) any(jobs_)->cancelled.store(true);
      forward();
      collect();
      while (states_.size() > 1 && below(3) == 0) states_.erase(states_.begin() + 1);
    }
    int forwards = 0;
    for (; !planner_.idle() && forwards < 1000; ++forwards, ++now_) forward();
    EXPECT_TRUE(planner_.idle());
    collect();
    EXPECT_TRUE(jobs_.empty());
    states_.resize(1);
    EXPECT_EQ(pool_->used(), 0);
    EXPECT_EQ(slots_ ? slots_->used() : 0, 0);
  }

 private:
  int64_t below(int64_t count) {
    return static_cast<int64_t>(random_() % static_cast<uint64_t>(count));
  }

  template <class T>
  T& any(std::vector<T>& from) {
    return from[static_cast<size_t>(below(static_cast<int64_t>(from.size())))];
  }

  static Clock::time_point at(int64_t tick) { return Clock::time_point(Clock::duration(tick)); }

  void add() {
    std::vector<SegmentSpec> specs(static_cast<size_t>(1 + below(5)));
    for (size_t i = 0; i < specs.size(); ++i) {
      SegmentSpec& spec = specs[i];
      spec.tokens.assign(static_cast<size_t>(below(4) == 0 ? below(150) : below(30)), 7);
      spec.keep = below(2) == 0;
      if (i > 0 && below(4) > 0) {
        spec.parent_index = static_cast<int>(below(static_cast<int64_t>(i)));
      } else {
        spec.parent = any(states_);
      }
      if (!spec.tokens.empty() && below(2) == 0) spec.read = {1, 2};
    }
    const auto deadline = below(3) == 0 ? at(now_ + 1 + below(10)) : Clock::time_point::max();
    jobs_.push_back(std::make_shared<Job>(specs, deadline));
    specs_.push_back(std::move(specs));
    planner_.add(jobs_.back());
  }

  void forward() {
    const int64_t budget = 16 + below(kChunk);
    const Forward forward = planner_.plan(at(now_), budget);
    if (forward.empty()) return;
    EXPECT_TRUE(static_cast<int64_t>(forward.ids.size()) <= kChunk);
    int64_t rows = 0;
    for (const SegmentRow& row : forward.segments) rows += row.rows;
    EXPECT_EQ(rows, static_cast<int64_t>(forward.ids.size()));
    if (below(20) == 0) {
      planner_.fail(forward, Reason::kInternal, "on purpose");
      return;
    }
    std::vector<float> logits(forward.read_ids.size()), hidden(forward.reads.size());
    planner_.complete(forward, {logits.data(), hidden.data(), 1, nullptr, nullptr});
  }

  // Checks what has ended, and keeps some of its States.
  void collect() {
    for (size_t j = 0; j < jobs_.size();) {
      if (!jobs_[j]->wait(0)) {
        ++j;
        continue;
      }
      check(specs_[j], jobs_[j]->results);
      jobs_.erase(jobs_.begin() + static_cast<std::ptrdiff_t>(j));
      specs_.erase(specs_.begin() + static_cast<std::ptrdiff_t>(j));
    }
  }

  void check(const std::vector<SegmentSpec>& specs, std::vector<SegmentResult>& results) {
    std::vector<int64_t> ends;
    for (size_t i = 0; i < specs.size(); ++i) {
      const SegmentSpec& spec = specs[i];
      const auto above = static_cast<size_t>(std::max(spec.parent_index, 0));
      const int64_t start = spec.parent ? spec.parent->length() : ends[above];
      ends.push_back(start + static_cast<int64_t>(spec.tokens.size()));
      SegmentResult& result = results[i];
      if (!spec.parent && results[above].reason != Reason::kNone) {
        // Mostly the same one; a child that overflowed first keeps its own.
        const bool inherited = result.reason == results[above].reason;
        EXPECT_TRUE(inherited || result.reason == Reason::kOverflow);
      }
      if (result.reason == Reason::kNone) {
        EXPECT_EQ(result.logits.size(), spec.read.size());
        EXPECT_EQ(result.state != nullptr, spec.keep);
        if (spec.keep) EXPECT_EQ(result.state->length(), ends[i]);
      } else if (result.state) {
        EXPECT_TRUE(spec.keep);
        EXPECT_TRUE(result.reason == Reason::kDeadline || result.reason == Reason::kClosing);
        EXPECT_TRUE(result.state->length() > start && result.state->length() <= ends[i]);
      }
      if (result.state && below(2) == 0) states_.push_back(std::move(result.state));
    }
  }

  std::mt19937 random_;
  std::shared_ptr<PagePool> pool_, slots_;
  Planner planner_;
  int64_t now_ = 0;
  std::vector<StatePtr> states_;
  std::vector<JobPtr> jobs_;
  std::vector<std::vector<SegmentSpec>> specs_;
};

}  // namespace

int main() {
  for (uint32_t seed = 0; seed < 200 && failures() == 0; ++seed) {
    Schedule(seed, false).run();
    Schedule(seed, true).run();
  }
  return failures() == 0 ? 0 : 1;
}
