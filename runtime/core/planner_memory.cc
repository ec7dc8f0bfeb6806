// Which pages and which recurrent slot a segment gets, and who waits for them.
#include <algorithm>

#include "planner.h"

namespace stepguard {

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

}  // namespace stepguard
