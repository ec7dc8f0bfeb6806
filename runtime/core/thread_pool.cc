#include "thread_pool.h"

#include <algorithm>
#include <chrono>

#if defined(__x86_64__)
#include <immintrin.h>
#endif
#include <sched.h>

namespace stepguard {
namespace {

// Spinning longer costs neighbours more than a wake-up costs us.
constexpr auto kSpin = std::chrono::microseconds(40);
constexpr int kPausesPerLook = 64;
constexpr int64_t kChunksPerThread = 8;

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  try {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { worker(); });
  } catch (...) {  // no more threads to be had: join those that run
    stop();
    throw;
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_.store(true);
  }
  wake_.notify_all();
  for (std::thread& thread : workers_) thread.join();
  workers_.clear();
}

void ThreadPool::run(int64_t count, int64_t grain, Function function, void* context) {
  if (count <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  if (workers_.empty() || count <= grain) {
    function(context, 0, count);
    return;
  }
  function_ = function;
  context_ = context;
  count_ = count;
  chunk_ = std::max(grain, count / (kChunksPerThread * threads()));
  next_.store(0, std::memory_order_relaxed);
  open_.store(++job_);
  if (sleepers_.load() > 0) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
    }  // a sleeper is waiting or will look again
    wake_.notify_all();
  }
  take_chunks();
  open_.store(0);
  // A worker that came in late finds no chunk left; one that still computes is waited for.
  for (int spins = 0; inside_.load() > 0; ++spins) {
    spins < 2000 ? pause() : static_cast<void>(sched_yield());
  }
}

void ThreadPool::take_chunks() {
  for (;;) {
    const int64_t begin = next_.fetch_add(chunk_, std::memory_order_relaxed);
    if (begin >= count_) return;
    function_(context_, begin, std::min(begin + chunk_, count_));
  }
}

void ThreadPool::worker() {
  uint64_t last = 0;
  while (wait_for_job(last)) {
    // Announce first, look second; run() closes first and looks second: one of the two sees the
    // other, so the fields are never rewritten under a worker.
    inside_.fetch_add(1);
    const uint64_t job = open_.load();
    if (job != 0 && job != last) {
      take_chunks();
      last = job;
    }
    inside_.fetch_sub(1);
  }
}

bool ThreadPool::wait_for_job(uint64_t last) {
  const auto ready = [&] {
    const uint64_t job = open_.load();
    return job != 0 && job != last;
  };
  if (hot_.load(std::memory_order_relaxed)) {
    const auto until = std::chrono::steady_clock::now() + kSpin;
    while (std::chrono::steady_clock::now() < until && !stop_.load(std::memory_order_relaxed)) {
      for (int i = 0; i < kPausesPerLook; ++i) {
        if (ready()) return true;
        pause();
      }
    }
  }
  std::unique_lock<std::mutex> lock(mutex_);
  sleepers_.fetch_add(1);
  wake_.wait(lock, [&] { return stop_.load() || ready(); });
  sleepers_.fetch_sub(1);
  return !stop_.load();
}

}  // namespace stepguard
