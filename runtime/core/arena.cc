#include "arena.h"

#include <sys/mman.h>

#include <cstring>
#include <new>
#include <stdexcept>
#include <string>

namespace stepguard {
namespace {

void must(cuda::Problem problem) {
  if (problem != nullptr) throw std::runtime_error(std::string("the GPU refused: ") + problem);
}

// Zero, or null where there is no room.
void* take(const cuda::Table* device, size_t bytes) {
  if (device == nullptr) {
    void* region = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return region == MAP_FAILED ? nullptr : region;
  }
  void* region = nullptr;
  if (device->allocate(bytes, &region) != nullptr) return nullptr;
  if (device->clear(nullptr, region, bytes) == nullptr && device->wait(nullptr) == nullptr) {
    return region;
  }
  device->release(region);
  return nullptr;
}

}  // namespace

Arena::Arena(int64_t layers, int64_t pages, int64_t page_bytes, const cuda::Table* device)
    : device_(device), bytes_(static_cast<size_t>(pages * page_bytes)) {
  for (int64_t i = 0; i < layers; ++i) {
    void* region = take(device_, bytes_);
    if (region == nullptr) {
      give_back();
      throw std::bad_alloc();
    }
    regions_.push_back(static_cast<uint8_t*>(region));
  }
}

Arena::~Arena() { give_back(); }

void Arena::give_back() {
  for (uint8_t* region : regions_) {
    if (device_ == nullptr) {
      munmap(region, bytes_);
    } else {
      device_->release(region);
    }
  }
  regions_.clear();
}

const uint8_t* Arena::look(int64_t layer, int64_t offset, int64_t bytes, uint8_t* buffer) const {
  const uint8_t* from = region(layer) + offset;
  if (device_ == nullptr) return from;
  must(device_->download(nullptr, buffer, from, static_cast<size_t>(bytes)));
  must(device_->wait(nullptr));
  return buffer;
}

void Arena::write(int64_t layer, int64_t offset, const void* source, int64_t bytes) const {
  uint8_t* to = region(layer) + offset;
  if (device_ == nullptr) {
    std::memcpy(to, source, static_cast<size_t>(bytes));
    return;
  }
  must(device_->upload(nullptr, to, source, static_cast<size_t>(bytes)));
  must(device_->wait(nullptr));
}

}  // namespace stepguard
