// Operands of a GPU kernel: copies on the device, exactly as large as they must be. For tests:
// whatever goes wrong ends the process with a message.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <utility>
#include <vector>

#include "cuda/table.h"

namespace stepguard {

inline void must(cuda::Problem problem) {
  if (problem == nullptr) return;
  std::fprintf(stderr, "the GPU refused: %s\n", problem);
  std::exit(3);
}

// Memory of the device.
class Buffer {
 public:
  Buffer(const cuda::Table& library, size_t bytes) : library_(library), bytes_(bytes) {
    must(library_.allocate(bytes == 0 ? 1 : bytes, &memory_));
  }
  Buffer(const cuda::Table& library, const void* source, size_t bytes) : Buffer(library, bytes) {
    must(library_.upload(nullptr, memory_, source, bytes));
    must(library_.wait(nullptr));
  }
  ~Buffer() { library_.release(memory_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  void fetch(void* target) const {
    must(library_.download(nullptr, target, memory_, bytes_));
    must(library_.wait(nullptr));
  }
  template <class T>
  T* as() const {
    return static_cast<T*>(memory_);
  }

 private:
  const cuda::Table& library_;
  size_t bytes_;
  void* memory_ = nullptr;
};

// The operands of one call: null stays null.
class Operands {
 public:
  explicit Operands(const cuda::Table& library) : library_(library) {}

  const void* put_bytes(const void* source, size_t bytes) {
    buffers_.push_back(std::make_unique<Buffer>(library_, source, bytes));
    return buffers_.back()->as<void>();
  }
  template <class T>
  T* put(T* source, int64_t count) {
    if (source == nullptr) return nullptr;
    put_bytes(source, static_cast<size_t>(count) * sizeof(T));
    return buffers_.back()->as<T>();
  }
  template <class T>
  const T* put(const std::vector<T>& source) {
    return put(source.data(), static_cast<int64_t>(source.size()));
  }
  // Memory that comes back to `target` when all is done.
  template <class T>
  T* in_out(T* target, int64_t count) {
    if (target == nullptr) return nullptr;
    T* device = put(target, count);
    results_.emplace_back(buffers_.back().get(), target);
    return device;
  }
  template <class T>
  T* in_out(std::vector<T>& target) {
    return in_out(target.data(), static_cast<int64_t>(target.size()));
  }
  void* scratch(size_t bytes) {
    buffers_.push_back(std::make_unique<Buffer>(library_, bytes));
    return buffers_.back()->as<void>();
  }
  void finish(cuda::Problem problem) {
    must(problem);
    must(library_.wait(nullptr));
    for (const auto& [buffer, target] : results_) buffer->fetch(target);
  }

 private:
  const cuda::Table& library_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::vector<std::pair<Buffer*, void*>> results_;
};

}  // namespace stepguard
