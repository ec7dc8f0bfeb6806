// What becomes of segments: their outputs, their failures, and jobs that are finished.
#include <algorithm>
#include <cmath>

#include "planner.h"

namespace stepguard {

void Planner::complete(const Forward& forward, const Outputs& outputs) {
  size_t read = 0, next = 0;
  for (const Forward::Item& item : forward.items) {
    Task& task = *item.task;
    if (!item.last) continue;
    const bool reads = !task.spec().read.empty(), asks_next = task.spec().next;
    const bool finite = (!reads || take_read(forward, outputs, read, task)) &&
                        (!asks_next || take_next(outputs, next, task));
    read += reads || asks_next ? 1 : 0;
    next += asks_next ? 1 : 0;
    if (finite) {
      end(task);
    } else {
      fail(task, Reason::kNumeric, "the model gave a logit that is not a finite number");
    }
  }
  sweep();
}

// False where a logit is not finite.
bool Planner::take_read(const Forward& forward, const Outputs& outputs, size_t read, Task& task) {
  SegmentResult& result = task.result();
  const float* hidden = outputs.hidden + static_cast<int64_t>(read) * outputs.width;
  result.logits.assign(outputs.logits + forward.read_offsets[read],
                       outputs.logits + forward.read_offsets[read + 1]);
  result.hidden.assign(hidden, hidden + outputs.width);
  return std::all_of(result.logits.begin(), result.logits.end(),
                     [](float value) { return std::isfinite(value); });
}

bool Planner::take_next(const Outputs& outputs, size_t next, Task& task) {
  task.result().next = outputs.next_ids[next];
  task.result().next_score = outputs.next_scores[next];
  return std::isfinite(task.result().next_score);
}

void Planner::fail(const Forward& forward, Reason reason, const std::string& message) {
  for (const Forward::Item& item : forward.items) fail(*item.task, reason, message);
  sweep();
}

void Planner::fail_all(Reason reason, const std::string& message) {
  for (const std::unique_ptr<Work>& work : work_) {
    for (Task& task : work->tasks) {
      if (!task.done) fail(task, reason, message);
    }
  }
  sweep();
}

void Planner::end(Task& task) {
  task.done = true;
  if (task.spec().keep) task.result().state = task.end;
  if (task.children == 0) task.end.reset();
}

void Planner::fail(Task& task, Reason reason, const std::string& message) {
  if (!task.started && !task.done && task.parent != nullptr) drop_child(*task.parent);
  task.done = true;
  task.end.reset();
  SegmentResult& result = task.result();
  result.reason = reason;
  result.state.reset();
  result.logits.clear();
  result.hidden.clear();
  result.next = -1;
  result.next_score = 0.0F;
  try {
    result.message = message;
  } catch (const std::bad_alloc&) {  // the reason alone has to do
    result.message.clear();
  }
}

// What a segment that is not kept holds is free again when no child has to start from it any more.
void Planner::drop_child(Task& parent) {
  if (--parent.children == 0 && parent.done) parent.end.reset();
}

// A segment has no result when its parent has none, also where it ended first: one without tokens
// ends while it is planned.
void Planner::inherit_failures(Work& work) {
  for (Task& task : work.tasks) {
    if (task.parent == nullptr || task.result().reason != Reason::kNone) continue;
    const SegmentResult& parent = task.parent->result();
    if (parent.reason != Reason::kNone) fail(task, parent.reason, parent.message);
  }
}

// A finished job lets go of all States before its caller wakes: what the caller drops is free.
void Planner::sweep() {
  std::vector<JobPtr> finished;
  finished.reserve(work_.size());  // nothing after this may fail halfway
  for (std::unique_ptr<Work>& work : work_) {
    inherit_failures(*work);
    const bool done = std::all_of(work->tasks.begin(), work->tasks.end(),
                                  [](const Task& task) { return task.done; });
    if (!done) continue;
    finished.push_back(std::move(work->job));
    finished.back()->specs.clear();
    work.reset();
  }
  work_.erase(std::remove(work_.begin(), work_.end(), nullptr), work_.end());
  for (const JobPtr& job : finished) job->finish();
}

}  // namespace stepguard
