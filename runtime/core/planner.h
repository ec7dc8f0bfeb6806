// From waiting jobs to forwards: which tokens run next, where their keys and values go.
// Pure bookkeeping: no clock, no threads, no ONNX Runtime.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "ort/segments.h"
#include "scheduler.h"
#include "segment.h"

namespace stepguard {

// One segment on its way through the forwards.
struct Task {
  Job* job = nullptr;
  Task* parent = nullptr;  // where it goes on from an earlier segment of its job
  size_t index = 0;
  int64_t start = 0;    // absolute position of its first token
  int64_t fed = 0;      // tokens that forwards have taken
  int32_t source = -1;  // recurrent slot from which its next tokens go on
  int children = 0;     // segments of the job that still have to start from this one
  bool started = false, done = false;
  std::shared_ptr<const State> end;  // pages of the whole path; made at the start

  const SegmentSpec& spec() const { return job->specs[index]; }
  SegmentResult& result() const { return job->results[index]; }
  int64_t size() const { return static_cast<int64_t>(spec().tokens.size()); }
};

// The arrays of one forward, as the graph takes them.
struct Forward {
  struct Item {
    Task* task;
    bool last;  // the segment ends in this forward
  };
  std::vector<int32_t> ids, pages, reads, read_offsets{0}, read_ids;
  std::vector<int32_t> nexts;  // which of the reads want a next token
  std::vector<SegmentRow> segments;
  std::vector<int32_t> slots;  // per segment: slot to start from, slot of its end (-1: none)
  std::vector<Item> items;
  std::vector<StatePtr> held;  // parents whose pages are copied while it runs
  int64_t copied_tokens = 0;
  bool empty() const { return ids.empty(); }
};

// What a forward gave: logits [read_ids], hidden [reads][width]; next tokens and their
// log-probabilities [nexts].
struct Outputs {
  const float* logits = nullptr;
  const float* hidden = nullptr;
  int64_t width = 0;
  const int32_t* next_ids = nullptr;
  const float* next_scores = nullptr;
};

class Planner {
 public:
  // `context`: longest path in tokens; `chunk`: most tokens of a forward. `slots`: recurrent slots
  // of a hybrid model, null for a model without.
  Planner(std::shared_ptr<PagePool> pool, int64_t context, int64_t chunk,
          std::shared_ptr<PagePool> slots = nullptr);

  void add(JobPtr job);
  bool idle() const { return work_.empty(); }

  // The next forward, of about `budget` tokens: jobs in the order of the scheduler, parents
  // before children. What was cancelled, or is late at `now`, ends here. Empty when all that waited
  // failed or needed no tokens; then finished jobs were already reported.
  Forward plan(Clock::time_point now, int64_t budget);
  Forward plan() { return plan(Clock::time_point::min(), chunk_); }

  // Hands the outputs to the segments that ended.
  void complete(const Forward& forward, const Outputs& outputs);

  // The forward did not run: its segments and their children have no result.
  void fail(const Forward& forward, Reason reason, const std::string& message);

  void fail_all(Reason reason, const std::string& message);

 private:
  struct Work {
    JobPtr job;
    std::vector<Task> tasks;
  };

  int64_t remaining(const Work& work) const;
  void expire(Work& work, Clock::time_point now);
  void stop(Task& task, Reason reason, const char* message);
  bool runs_whole(const Task& task) const;
  void feed(Work& work, int64_t most, Forward& forward);
  bool start(Task& task, int64_t room, Forward& forward, SegmentRow& row);
  bool choose_slot(Task& task, const StatePtr& parent, int64_t room, int32_t* slot);
  bool take_pages(Task& task, const State& parent, SegmentRow& row, std::vector<int32_t>& pages);
  bool wait_for_memory(Task& task, const std::string& shortage);  // always false
  void append(Task& task, int64_t count, SegmentRow row, Forward& forward);
  void end(Task& task);
  bool take_read(const Forward& forward, const Outputs& outputs, size_t read, Task& task);
  bool take_next(const Outputs& outputs, size_t next, Task& task);
  void fail(Task& task, Reason reason, const std::string& message);
  void drop_child(Task& parent);
  void inherit_failures(Work& work);
  void sweep();

  std::shared_ptr<PagePool> pool_;
  std::shared_ptr<PagePool> slots_;
  int64_t context_, chunk_;
  Task* stalled_ = nullptr;  // the segment of this plan that waits for pages or a slot
  std::string shortage_;     // for which, in words
  std::deque<std::unique_ptr<Work>> work_;
};

}  // namespace stepguard
