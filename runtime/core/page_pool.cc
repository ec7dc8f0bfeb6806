#include "page_pool.h"

#include <unistd.h>

#include <algorithm>
#include <functional>
#include <numeric>

namespace stepguard {

PagePool::PagePool(int32_t count)
    : pid_(getpid()),
      owners_(static_cast<size_t>(count)),
      marks_(static_cast<size_t>(count)),
      free_(static_cast<size_t>(count)) {
  std::iota(free_.begin(), free_.end(), 0);
  std::make_heap(free_.begin(), free_.end(), std::greater<>());
}

int32_t PagePool::allocate() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (free_.empty()) return -1;
  // The lowest number first keeps the touched part of the arenas, and so the memory, small.
  std::pop_heap(free_.begin(), free_.end(), std::greater<>());
  const int32_t page = free_.back();
  free_.pop_back();
  owners_[static_cast<size_t>(page)] = 1;
  marks_[static_cast<size_t>(page)] = 0;
  return page;
}

void PagePool::retain(int32_t page) {
  const std::lock_guard<std::mutex> lock(mutex_);
  ++owners_[static_cast<size_t>(page)];
}

void PagePool::release(int32_t page) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (--owners_[static_cast<size_t>(page)] > 0) return;
  free_.push_back(page);
  std::push_heap(free_.begin(), free_.end(), std::greater<>());
}

bool PagePool::extend(int32_t page, int32_t from, int32_t to) {
  const std::lock_guard<std::mutex> lock(mutex_);
  int32_t& mark = marks_[static_cast<size_t>(page)];
  if (mark != from) return false;
  mark = to;
  return true;
}

void PagePool::set_mark(int32_t page, int32_t mark) {
  const std::lock_guard<std::mutex> lock(mutex_);
  marks_[static_cast<size_t>(page)] = mark;
}

bool PagePool::sole(int32_t page) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return owners_[static_cast<size_t>(page)] == 1;
}

bool PagePool::foreign() const { return getpid() != pid_; }

int32_t PagePool::used() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return static_cast<int32_t>(owners_.size() - free_.size());
}

}  // namespace stepguard
