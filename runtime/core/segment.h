// What a caller hands in and gets back: a list of segments in which a parent precedes its children.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "page_pool.h"

namespace stepguard {

using Clock = std::chrono::steady_clock;

// Why a segment has no result, or only a part of it.
enum class Reason { kNone, kDeadline, kMemory, kNumeric, kInternal, kClosing, kOverflow };

struct SegmentSpec {
  std::vector<int32_t> tokens;
  StatePtr parent;        // a State, or
  int parent_index = -1;  // an earlier segment of the same job
  bool keep = false;      // make a State of the end
  bool consume = false;   // with keep: nobody needs the parent again, its slot may be taken over
  std::vector<int32_t> read;  // output rows whose logits are wanted at the last token
  bool next = false;          // the most likely next token is wanted there
};

struct SegmentResult {
  // Only with keep. Beside the reasons kDeadline and kClosing: the State after those tokens that
  // were read, where any were.
  StatePtr state;
  std::vector<float> logits;  // one per id in `read`
  std::vector<float> hidden;  // normed hidden row at the last token, only with a read
  int32_t next = -1;          // the most likely next token and its log-probability, only with next
  float next_score = 0.0F;
  Reason reason = Reason::kNone;
  std::string message;
};

// A submitted forest. The engine's thread fills `results`; any thread may wait.
class Job {
 public:
  explicit Job(std::vector<SegmentSpec> specs,
               Clock::time_point deadline = Clock::time_point::max())
      : deadline(deadline), specs(std::move(specs)), results(this->specs.size()) {}

  void finish() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      done_ = true;
    }
    done_condition_.notify_all();
  }

  // False when `seconds` passed first; negative waits for ever.
  bool wait(double seconds) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (seconds < 0 || seconds > 1e9) {
      done_condition_.wait(lock, [&] { return done_; });
      return true;
    }
    return done_condition_.wait_for(lock, std::chrono::duration<double>(seconds),
                                    [&] { return done_; });
  }

  const Clock::time_point deadline;    // what has not run by then does not run
  std::vector<SegmentSpec> specs;      // cleared when the job is done
  std::vector<SegmentResult> results;  // the waiter's after wait() gave true
  std::atomic<bool> cancelled{false};

 private:
  std::mutex mutex_;
  std::condition_variable done_condition_;
  bool done_ = false;
};

using JobPtr = std::shared_ptr<Job>;

}  // namespace stepguard
