// The KV pages of all layers: page i is page i of every layer's arena.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace stepguard {

// Hands out page numbers, counts their owners and remembers how far each page is filled.
// Thread-safe: States are released from any thread.
class PagePool {
 public:
  explicit PagePool(int32_t count);

  // A free page with one owner and mark 0, the lowest number first; -1 when there is none.
  int32_t allocate();
  void retain(int32_t page);
  void release(int32_t page);

  // The first child at the mark extends the page in place: true when `page` is filled exactly up to
  // `from`, in which case it now is up to `to`. Later children copy.
  bool extend(int32_t page, int32_t from, int32_t to);
  void set_mark(int32_t page, int32_t mark);

  int32_t total() const { return static_cast<int32_t>(owners_.size()); }
  int32_t used() const;

 private:
  mutable std::mutex mutex_;
  std::vector<int32_t> owners_, marks_, free_;  // free_ is a heap, lowest page on top
};

// All that the model remembers after reading `length` tokens. Never changed once made.
class State {
 public:
  // Takes over one ownership of each page.
  State(std::shared_ptr<PagePool> pool, std::vector<int32_t> pages, int64_t length)
      : pool_(std::move(pool)), pages_(std::move(pages)), length_(length) {}
  ~State() {
    for (const int32_t page : pages_) pool_->release(page);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  int64_t length() const { return length_; }
  const std::vector<int32_t>& pages() const { return pages_; }
  const PagePool* pool() const { return pool_.get(); }

 private:
  std::shared_ptr<PagePool> pool_;
  std::vector<int32_t> pages_;
  int64_t length_;
};

using StatePtr = std::shared_ptr<const State>;

}  // namespace stepguard
