// The KV pages and the recurrent slots of all layers, and the States that own them: number i is
// page i, or slot i, of every layer's arena.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace stepguard {

// Hands out page (or slot) numbers, counts their owners and remembers how far each page is filled.
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

  // True when one owner holds the page: nobody else would see it change.
  bool sole(int32_t page) const;

  // True in a child of fork(): its copy of the mutex may be locked for ever.
  bool foreign() const;

  int32_t total() const { return static_cast<int32_t>(owners_.size()); }
  int32_t used() const;

 private:
  const int pid_;
  mutable std::mutex mutex_;
  std::vector<int32_t> owners_, marks_, free_;  // free_ is a heap, lowest page on top
};

// All that the model remembers after reading `length` tokens. Never changed once made.
class State {
 public:
  // Takes over one ownership of each page, and of the slot where the model has recurrent layers.
  State(std::shared_ptr<PagePool> pool, std::vector<int32_t> pages, int64_t length,
        std::shared_ptr<PagePool> slots = nullptr, int32_t slot = -1)
      : pool_(std::move(pool)),
        pages_(std::move(pages)),
        length_(length),
        slots_(std::move(slots)),
        slot_(slot) {}
  ~State() {
    if (pool_->foreign()) return;
    for (const int32_t page : pages_) pool_->release(page);
    if (slot_ >= 0) slots_->release(slot_);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  int64_t length() const { return length_; }
  const std::vector<int32_t>& pages() const { return pages_; }
  const PagePool* pool() const { return pool_.get(); }
  int32_t slot() const { return slot_; }  // -1: nothing read, or no recurrent layers

  // Hands the slot over to a child, which writes its own end in place; the State is spent until a
  // child that could not start gives it back.
  int32_t take_slot() const {
    spent_.store(true);
    return std::exchange(slot_, -1);
  }
  void give_slot(int32_t slot) const {
    slot_ = slot;
    spent_.store(false);
  }
  bool spent() const { return spent_.load(); }

 private:
  std::shared_ptr<PagePool> pool_;
  std::vector<int32_t> pages_;
  int64_t length_;
  std::shared_ptr<PagePool> slots_;
  mutable int32_t slot_;  // changed by the engine's thread only
  mutable std::atomic<bool> spent_{false};
};

using StatePtr = std::shared_ptr<const State>;

}  // namespace stepguard
