#include "arena.h"

#include <sys/mman.h>

#include <new>

namespace stepguard {

Arena::Arena(int64_t layers, int64_t pages, int64_t page_bytes)
    : bytes_(static_cast<size_t>(pages * page_bytes)) {
  for (int64_t i = 0; i < layers; ++i) {
    void* region = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region == MAP_FAILED) {
      for (uint8_t* mapped : regions_) munmap(mapped, bytes_);
      throw std::bad_alloc();
    }
    regions_.push_back(static_cast<uint8_t*>(region));
  }
}

Arena::~Arena() {
  for (uint8_t* region : regions_) munmap(region, bytes_);
}

}  // namespace stepguard
