#include "device.h"

namespace stepguard::cuda {
namespace {

constexpr int kThreads = 256;

// What a thread loads at once.
struct alignas(16) Words {
  uint32_t word[4];
};

SG_KERNEL sum_words(const Words* words, int64_t count, int64_t blocks, uint32_t* sums) {
  SG_SHARED uint32_t parts[kThreads];
  SG_THREADS(t) {
    uint32_t sum = 0;
    for (int64_t i = block_index() * kThreads + t; i < count; i += blocks * kThreads) {
      const Words four = words[i];
      sum += four.word[0] + four.word[1] + four.word[2] + four.word[3];
    }
    parts[t] = sum;
  }
  sum_threads<kThreads>(parts);
  SG_THREADS(t) {
    if (t == 0) sums[block_index()] = parts[0];
  }
}

}  // namespace

Problem read_words(Stream stream, const uint32_t* words, int64_t count, int64_t blocks,
                   uint32_t* sums) {
  return launch(sum_words, blocks, kThreads, stream, reinterpret_cast<const Words*>(words),
                count / 4, blocks, sums);
}

}  // namespace stepguard::cuda
