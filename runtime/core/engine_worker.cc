// The worker of an engine: takes what waits, runs it, counts, and ends when the engine is closed.
#include <chrono>
#include <stdexcept>

#include "engine_impl.h"

namespace stepguard {
namespace {

// Made once: a failure for want of memory must not need memory.
const std::string kClosed = "the guard was closed", kOutOfMemory = "the process is out of memory";

}  // namespace

void Engine::Impl::loop() {
  std::unique_lock<std::mutex> lock(mutex);
  for (;;) {
    wake.wait(lock, [&] { return stop || !inbox.empty() || !planner.idle(); });
    for (; !inbox.empty(); inbox.pop_front()) accept(inbox.front());
    if (stop) {
      planner.fail_all(Reason::kClosing, kClosed);
      return;
    }
    lock.unlock();
    step();
    lock.lock();
  }
}

void Engine::Impl::accept(const JobPtr& job) {
  try {
    planner.add(job);
  } catch (const std::bad_alloc&) {
    for (SegmentResult& result : job->results) result.reason = Reason::kMemory;
    job->finish();
  }
}

// One forward. Nothing may leave this function: the worker has nobody to catch it.
void Engine::Impl::step() {
  const std::lock_guard<std::mutex> writing(forward_mutex);
  Forward forward;
  try {
    if (const std::string& changed = watch.changed(); !changed.empty()) {
      planner.fail_all(Reason::kInternal, changed);
      return;
    }
    forward = planner.plan(Clock::now(), next_tokens());
  } catch (const std::exception&) {  // half a plan: which segments it took is lost
    planner.fail_all(Reason::kMemory, kOutOfMemory);
    return;
  }
  if (forward.empty()) return;
  try {
    const auto begin = Clock::now();
    threads.begin_forward();
    const ForwardOutput output = graph->run(forward);
    threads.end_forward();
    forward.held.clear();
    const std::chrono::duration<double> took = Clock::now() - begin;
    count(forward, took.count());
    planner.complete(forward, {output.logits.data(), output.hidden.data(), output.width,
                               output.next_ids.data(), output.next_scores.data()});
  } catch (const std::bad_alloc&) {
    threads.end_forward();
    planner.fail(forward, Reason::kMemory, kOutOfMemory);
  } catch (const std::exception& error) {
    threads.end_forward();
    const bool cancelled = context.cancelled.load();
    std::string text;
    try {
      text = error.what();
    } catch (const std::bad_alloc&) {
    }
    const bool no_memory = device != nullptr && Device::is_out_of_memory(text);
    planner.fail(forward,
                 cancelled   ? Reason::kClosing
                 : no_memory ? Reason::kMemory
                             : Reason::kInternal,
                 text);
  }
}

void Engine::Impl::count(const Forward& forward, double seconds) {
  const std::lock_guard<std::mutex> lock(mutex);
  stats.tokens += static_cast<int64_t>(forward.ids.size());
  stats.copied_tokens += forward.copied_tokens;
  ++stats.forwards;
  stats.busy_seconds += seconds;
  stats.op_seconds.clear();
  for (const OpTime& time : context.times) stats.op_seconds.emplace_back(time.name, time.seconds);
  speed.add(static_cast<int64_t>(forward.ids.size()), seconds);
}

int64_t Engine::Impl::next_tokens() const {
  const std::lock_guard<std::mutex> lock(mutex);
  return speed.tokens(config.budget, config.chunk);
}

void Engine::Impl::close() {
  const std::lock_guard<std::mutex> once(close_mutex);
  {
    const std::lock_guard<std::mutex> lock(mutex);
    stop = true;
  }
  context.cancelled.store(true);
  wake.notify_all();
  if (worker.joinable()) worker.join();
  threads.stop();
  // Whoever still holds a closed guard, or a State of it, keeps no memory of a GPU. `save` and
  // `restore` look under this lock whether it is open.
  const std::lock_guard<std::mutex> writing(forward_mutex);
  graph.reset();
  device.reset();
  for (Arena* memory : {&arena, &conv_arena, &delta_arena}) memory->give_back();
}

}  // namespace stepguard
