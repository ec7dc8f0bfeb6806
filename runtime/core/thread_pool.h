// The engine's own threads: short spinning while a forward runs, asleep otherwise.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "ort/context.h"

namespace stepguard {

// A pool of `threads - 1` workers beside the calling thread. Work is handed out in small chunks, so
// that a worker whose core is taken by another process delays nobody for long. Bodies must not
// throw.
class ThreadPool final : public Parallel {
 public:
  explicit ThreadPool(int threads);
  ~ThreadPool() override;
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const override { return static_cast<int>(workers_.size()) + 1; }

  // Joins the workers; what runs afterwards runs on the calling thread. Idempotent.
  void stop();

  // Between the two, idle workers spin for some microseconds before they sleep.
  void begin_forward() { hot_.store(true); }
  void end_forward() { hot_.store(false); }

 protected:
  void run(int64_t count, int64_t grain, Function function, void* context) override;

 private:
  void worker();
  void take_chunks();
  bool wait_for_job(uint64_t last);  // false: stop

  // The job that is open; its fields are written only while no worker is inside.
  Function function_ = nullptr;
  void* context_ = nullptr;
  int64_t count_ = 0, chunk_ = 1;
  std::atomic<int64_t> next_{0};

  std::atomic<uint64_t> open_{0};  // number of the open job, 0 when none is
  std::atomic<int> inside_{0};     // workers that may be touching the job's fields
  uint64_t job_ = 0;

  std::atomic<bool> hot_{false}, stop_{false};
  std::atomic<int> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::thread> workers_;
};

}  // namespace stepguard
