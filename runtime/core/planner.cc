#include "planner.h"

#include <algorithm>
#include <cmath>

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

bool Planner::wait_for_memory(Task& task, const std::string& shortage) {
  if (stalled_ != nullptr) return false;  // the first one is next
  stalled_ = &task;
  shortage_ = shortage;
  return false;
}

// A segment whose end somebody goes on from needs a recurrent slot: the last child of a parent that
// is not kept takes over its slot, others get a free one. False: wait for segments in flight.
bool Planner::choose_slot(Task& task, const StatePtr& parent, int64_t room, int32_t* slot) {
  *slot = -1;
  if (!slots_) return true;
  task.source = parent->slot();
  if (task.size() == 0) {
    *slot = parent->slot();
    if (*slot >= 0) slots_->retain(*slot);
    return true;
  }
  const SegmentSpec& spec = task.spec();
  if (!spec.keep && task.children == 0 && task.size() <= room) return true;
  const bool last = task.parent != nullptr ? task.parent->children == 1 && !task.parent->spec().keep
                                           // the caller's, the job's and the one of start()
                                           : spec.consume && parent.use_count() == 3;
  // A segment without tokens shares its parent's slot, which then has a second owner.
  if (last && parent->slot() >= 0 && slots_->sole(parent->slot())) {
    *slot = parent->take_slot();
    return true;
  }
  *slot = slots_->allocate();
  return *slot >= 0 || wait_for_memory(task, "no recurrent slot is free (" +
                                                 std::to_string(slots_->total()) + " in all)");
}

// The pages of the whole path: the parent's, shared, and its own. False, and none taken: wait.
bool Planner::take_pages(Task& task, const State& parent, SegmentRow& row,
                         std::vector<int32_t>& pages) {
  const int64_t length = parent.length(), stop = length + task.size();
  const int64_t wanted = (stop + kPage - 1) / kPage;
  pages.reserve(static_cast<size_t>(wanted));
  for (int64_t i = 0; i < length / kPage; ++i) {
    pages.push_back(parent.pages()[static_cast<size_t>(i)]);
    pool_->retain(pages.back());
  }
  const auto filled = static_cast<int32_t>(length % kPage);
  const int32_t shared = filled > 0 ? parent.pages()[static_cast<size_t>(length / kPage)] : -1;
  // Only what others go on from may grow in place; a question uses pages of its own.
  const bool grows =
      filled > 0 && (task.spec().keep || task.children > 0) && task.size() > 0 &&
      pool_->extend(shared, filled,
                    static_cast<int32_t>(std::min<int64_t>(task.size() + filled, kPage)));
  if (grows || (filled > 0 && task.size() == 0)) {
    pages.push_back(shared);
    pool_->retain(shared);
  } else if (filled > 0) {
    row.copy_source = shared;
    row.copy_tokens = filled;
  }
  while (static_cast<int64_t>(pages.size()) < wanted) {
    const int32_t page = pool_->allocate();
    if (page < 0) {
      for (const int32_t taken : pages) pool_->release(taken);
      if (grows) pool_->set_mark(shared, filled);
      return wait_for_memory(task, "no KV page is free for " + std::to_string(task.size()) +
                                       " tokens (" + std::to_string(pool_->total()) +
                                       " pages in all)");
    }
    if (row.copy_source >= 0 && row.copy_target < 0) row.copy_target = page;
    const auto position = static_cast<int64_t>(pages.size()) * kPage;
    pool_->set_mark(page, static_cast<int32_t>(std::min<int64_t>(stop - position, kPage)));
    pages.push_back(page);
  }
  return true;
}

// Gives the segment what its path needs. True: it can run, or it is done; false: it waits.
bool Planner::start(Task& task, int64_t room, Forward& forward, SegmentRow& row) {
  const StatePtr from = task.parent != nullptr ? task.parent->end : task.spec().parent;
  const int64_t stop = from->length() + task.size();
  if (stop > context_) {
    fail(task, Reason::kOverflow,
         std::to_string(stop) + " tokens are more than the context of " + std::to_string(context_));
    return true;
  }
  if (from->spent()) {  // between the submission and now
    fail(task, Reason::kInternal, "its parent was consumed by another segment");
    return true;
  }
  int32_t slot = -1;
  if (!choose_slot(task, from, room, &slot)) return false;
  std::vector<int32_t> pages;
  if (!take_pages(task, *from, row, pages)) {
    if (slot >= 0 && from->spent()) {
      from->give_slot(slot);
    } else if (slot >= 0) {
      slots_->release(slot);
    }
    return false;
  }
  task.start = from->length();
  task.started = true;
  task.end = std::make_shared<const State>(pool_, std::move(pages), stop, slots_, slot);
  if (task.parent != nullptr) drop_child(*task.parent);
  if (row.copy_source >= 0) forward.held.push_back(from);
  forward.copied_tokens += row.copy_tokens;
  if (task.size() == 0) end(task);
  return true;
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
