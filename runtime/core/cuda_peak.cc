#include "cuda_peak.h"

#include <algorithm>
#include <chrono>
#include <new>
#include <stdexcept>

#include "cuda_library.h"

namespace stepguard {
namespace {

constexpr int64_t kBlocks = 4096;  // some for every multiprocessor of the largest GPU
constexpr int kReads = 10;

// Memory of the device until the scope ends.
class Taken {
 public:
  Taken(const cuda::Table& device, size_t bytes) : device_(device) {
    if (device.allocate(bytes, &data) != nullptr) throw std::bad_alloc();
  }
  ~Taken() { device_.release(data); }
  Taken(const Taken&) = delete;
  Taken& operator=(const Taken&) = delete;

  void* data = nullptr;

 private:
  const cuda::Table& device_;
};

void must(cuda::Problem problem) {
  if (problem != nullptr) throw std::runtime_error(std::string("the GPU refused: ") + problem);
}

}  // namespace

double measure_cuda_bandwidth(const std::string& path, int64_t bytes) {
  if (bytes < 16 || bytes % 16 != 0 || bytes > int64_t{1} << 40) {
    throw std::invalid_argument("bytes: expected a multiple of 16 up to 2^40, got " +
                                std::to_string(bytes));
  }
  const cuda::Table& device = open_cuda_library(path);
  const Taken words(device, static_cast<size_t>(bytes));
  const Taken sums(device, kBlocks * sizeof(uint32_t));
  must(device.clear(nullptr, words.data, static_cast<size_t>(bytes)));
  must(device.wait(nullptr));
  double best = 0;
  for (int i = 0; i < kReads; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    must(device.read_words(nullptr, static_cast<const uint32_t*>(words.data), bytes / 4, kBlocks,
                           static_cast<uint32_t*>(sums.data)));
    must(device.wait(nullptr));
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    best = std::max(best, static_cast<double>(bytes) / took.count());
  }
  return best;
}

}  // namespace stepguard
