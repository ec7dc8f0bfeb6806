// What an engine is made of: the worker thread, and what it shares with callers.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "arena.h"
#include "engine.h"
#include "graph.h"
#include "ort/cuda/device.h"
#include "ort_library.h"
#include "planner.h"
#include "saving.h"
#include "speed.h"
#include "thread_pool.h"
#include "watch.h"

namespace stepguard {

struct Engine::Impl {
  explicit Impl(const EngineConfig& given);
  ~Impl() { close(); }

  void loop();
  void accept(const JobPtr& job);
  void step();
  void count(const Forward& forward, double seconds);
  int64_t next_tokens() const;
  void forget_probe();
  void check_open() const;  // needs `mutex`
  std::unique_lock<std::mutex> between_forwards() const;
  Shelves shelves() const;
  void close();
  void check_usable() const;
  void check_spec(const SegmentSpec& spec, size_t index) const;

  const EngineConfig config;
  const pid_t pid;
  const int64_t pages, slots;
  const OrtLibrary& library;
  const cuda::Table* const cuda;  // null: the CPU
  std::unique_ptr<Device> device;
  std::string isa;
  OpContext context;
  ThreadPool threads;
  std::shared_ptr<PagePool> pool, slot_pool;
  StatePtr root;
  Planner planner;  // touched by the worker only
  Arena arena, conv_arena, delta_arena;
  Watch watch;
  Speed speed;  // touched under `mutex`
  std::unique_ptr<Graph> graph;
  bool writes = false;  // whether the graph gives next tokens

  mutable std::mutex forward_mutex;  // held while States are consumed or arenas are written
  mutable std::mutex mutex;
  std::condition_variable wake;
  std::deque<JobPtr> inbox;
  bool stop = false;
  EngineStats stats;
  std::mutex close_mutex;
  std::thread worker;
};

}  // namespace stepguard
