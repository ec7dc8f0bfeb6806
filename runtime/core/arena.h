// The memory of the KV pages: one region per layer, touched only where pages are used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace stepguard {

class Arena {
 public:
  // `layers` regions of `pages` x `page_bytes`, zero, not yet backed by memory. Throws
  // std::bad_alloc when the address space cannot be had.
  Arena(int64_t layers, int64_t pages, int64_t page_bytes);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  uint8_t* region(int64_t layer) const { return regions_[static_cast<size_t>(layer)]; }
  size_t region_bytes() const { return bytes_; }

 private:
  std::vector<uint8_t*> regions_;
  size_t bytes_;
};

}  // namespace stepguard
