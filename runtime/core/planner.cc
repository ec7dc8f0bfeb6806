#include "planner.h"

#include <algorithm>

namespace stepguard {

Planner::Planner(std::shared_ptr<PagePool> pool, int64_t context, int64_t chunk,
                 std::shared_ptr<PagePool> slots)
    : pool_(std::move(pool)),
      slots_(std::move(slots)),
      context_(context),
      chunk_(std::max<int64_t>(chunk, 1)) {}

void Planner::add(JobPtr job) {
  auto work = std::make_unique<Work>();
  work->tasks.resize(job->specs.size());
  for (size_t i = 0; i < work->tasks.size(); ++i) {
    Task& task = work->tasks[i];
    task.job = job.get();
    task.index = i;
    if (job->specs[i].parent_index < 0) continue;
    task.parent = &work->tasks[static_cast<size_t>(job->specs[i].parent_index)];
    ++task.parent->children;
  }
  work->job = std::move(job);
  work_.push_back(std::move(work));
}

Forward Planner::plan(Clock::time_point now, int64_t budget) {
  Forward forward;
  stalled_ = nullptr;
  for (const std::unique_ptr<Work>& work : work_) expire(*work, now);
  sweep();
  std::vector<Demand> demands;
  demands.reserve(work_.size());
  for (const std::unique_ptr<Work>& work : work_) {
    demands.push_back({remaining(*work), work->job->deadline});
  }
  budget = std::min(forward_budget(demands, budget), chunk_);
  for (const Turn& turn : take_turns(demands, budget)) {
    const int64_t left = budget - static_cast<int64_t>(forward.ids.size());
    feed(*work_[turn.job], std::min(left, turn.tokens), forward);
  }
  // Nothing runs, so nothing will be given back for which it could wait.
  if (forward.empty() && stalled_ != nullptr) fail(*stalled_, Reason::kMemory, shortage_);
  sweep();
  return forward;
}

int64_t Planner::remaining(const Work& work) const {
  int64_t sum = 0;
  for (const Task& task : work.tasks) sum += task.done ? 0 : task.size() - task.fed;
  return sum;
}

void Planner::expire(Work& work, Clock::time_point now) {
  const bool cancelled = work.job->cancelled.load();
  if (!cancelled && now < work.job->deadline) return;
  for (Task& task : work.tasks) {
    if (task.done) continue;
    if (cancelled) {
      stop(task, Reason::kClosing, "the call was cancelled");
    } else {
      stop(task, Reason::kDeadline, "the time given to the call ran out");
    }
  }
}

// Ends a segment early; what forwards have read of it is kept where its end was to be kept.
void Planner::stop(Task& task, Reason reason, const char* message) {
  StatePtr part;
  if (task.started && task.fed > 0 && task.spec().keep) {
    const int64_t length = task.start + task.fed;
    const auto count = static_cast<std::ptrdiff_t>((length + kPage - 1) / kPage);
    const std::vector<int32_t>& all = task.end->pages();
    std::vector<int32_t> pages(all.begin(), all.begin() + count);
    for (const int32_t page : pages) pool_->retain(page);
    const int32_t slot = task.end->slot();
    if (slot >= 0) slots_->retain(slot);
    // The mark of its last page lies further on, so a child copies what it shares of it.
    part = std::make_shared<const State>(pool_, std::move(pages), length, slots_, slot);
  }
  fail(task, reason, message);
  task.result().state = std::move(part);
}

// Up to `most` tokens of one job.
void Planner::feed(Work& work, int64_t most, Forward& forward) {
  const int64_t end = static_cast<int64_t>(forward.ids.size()) + most;
  const bool holds_memory = std::any_of(work.tasks.begin(), work.tasks.end(),
                                        [](const Task& task) { return task.started; });
  for (Task& task : work.tasks) {
    if (task.done || (task.started && task.fed == task.size())) continue;  // in this forward
    const Task* parent = task.parent;
    if (parent != nullptr && parent->result().reason != Reason::kNone) {
      fail(task, parent->result().reason, parent->result().message);
      continue;
    }
    // A parent that ends in this very forward will do: the operations keep the order.
    if (parent != nullptr && !(parent->started && parent->fed == parent->size())) continue;
    int64_t room = end - static_cast<int64_t>(forward.ids.size());
    if (room <= 0 && task.size() > 0) return;
    if (task.size() > room && runs_whole(task)) {
      const int64_t left = chunk_ - static_cast<int64_t>(forward.ids.size());
      if (task.size() > left) continue;  // the next forward is empty
      room = task.size();
    }
    SegmentRow row{0, 0, 0, 0, 0, -1, -1, 0};
    if (!task.started) {
      // What comes later must not take what a waiting segment is waiting for.
      // What a job holds already comes back when it goes on.
      if ((stalled_ != nullptr && !holds_memory) || !start(task, room, forward, row)) continue;
      if (task.done) continue;
    }
    append(task, std::min(room, task.size() - task.fed), row, forward);
  }
}

// A question of a hybrid needs no recurrent slot where it is read in one piece.
bool Planner::runs_whole(const Task& task) const {
  return slots_ != nullptr && !task.started && !task.spec().keep && task.children == 0 &&
         task.size() <= chunk_;
}

void Planner::append(Task& task, int64_t count, SegmentRow row, Forward& forward) {
  const std::vector<int32_t>& tokens = task.spec().tokens;
  const std::vector<int32_t>& pages = task.end->pages();
  row.first_row = static_cast<int32_t>(forward.ids.size());
  row.rows = static_cast<int32_t>(count);
  row.position = static_cast<int32_t>(task.start + task.fed);
  row.page_start = static_cast<int32_t>(forward.pages.size());
  row.page_count = static_cast<int32_t>(pages.size());
  forward.segments.push_back(row);
  forward.slots.insert(forward.slots.end(), {task.source, task.end->slot()});
  task.source = task.end->slot();
  forward.pages.insert(forward.pages.end(), pages.begin(), pages.end());
  const auto first = tokens.begin() + task.fed;
  forward.ids.insert(forward.ids.end(), first, first + count);
  task.fed += count;
  const bool last = task.fed == task.size();
  if (last && (!task.spec().read.empty() || task.spec().next)) {
    const std::vector<int32_t>& read = task.spec().read;
    forward.reads.push_back(static_cast<int32_t>(forward.ids.size()) - 1);
    forward.read_ids.insert(forward.read_ids.end(), read.begin(), read.end());
    forward.read_offsets.push_back(static_cast<int32_t>(forward.read_ids.size()));
  }
  if (last && task.spec().next) {
    forward.nexts.push_back(static_cast<int32_t>(forward.reads.size()) - 1);
  }
  forward.items.push_back({&task, last});
}

}  // namespace stepguard
