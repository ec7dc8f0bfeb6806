// The memory of the KV pages, or of recurrent slots: one region per layer. On the host it is
// touched only where pages are used; on a GPU it is taken at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cuda/table.h"

namespace stepguard {

class Arena {
 public:
  // `layers` regions of `pages` x `page_bytes`, zero; in device memory with a `device`, which must
  // outlive it. Throws std::bad_alloc when there is no room.
  Arena(int64_t layers, int64_t pages, int64_t page_bytes, const cuda::Table* device = nullptr);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  uint8_t* region(int64_t layer) const { return regions_[static_cast<size_t>(layer)]; }
  size_t region_bytes() const { return bytes_; }

  // Content of a region, while nothing else uses it: `look` gives the region itself, or `buffer`
  // filled from the device. Throw std::runtime_error when the device refuses.
  const uint8_t* look(int64_t layer, int64_t offset, int64_t bytes, uint8_t* buffer) const;
  void write(int64_t layer, int64_t offset, const void* source, int64_t bytes) const;

  // Gives the memory back, before the end too; nothing may use it any more.
  void give_back();

 private:
  const cuda::Table* device_;
  std::vector<uint8_t*> regions_;
  size_t bytes_;
};

}  // namespace stepguard
