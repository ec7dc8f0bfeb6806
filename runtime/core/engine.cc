#include "engine.h"

#include <unistd.h>

#include <stdexcept>

#include "engine_impl.h"
#include "error.h"
#include "sizes.h"

namespace stepguard {

Engine::Engine(const EngineConfig& config) : impl_(std::make_unique<Impl>(config)) {
  SegmentSpec probe;
  probe.tokens = {0};
  probe.parent = impl_->root;
  probe.read = {0};
  const JobPtr job = submit({probe});
  job->wait(-1);
  impl_->forget_probe();
  const SegmentResult& result = job->results[0];
  if (result.reason != Reason::kNone) {
    impl_->close();
    if (result.reason == Reason::kMemory) throw std::bad_alloc();
    throw Error(ErrorKind::kModelFormat, config.model_path, "a graph that reads one token",
                result.message, "Export the checkpoint again with this version of stepguard.");
  }
}

Engine::~Engine() {
  if (!impl_) return;
  if (getpid() != impl_->pid) {
    impl_.release();  // threads and locks of the parent: nothing of it can be released here
    return;
  }
  impl_->close();
}

JobPtr Engine::submit(std::vector<SegmentSpec> specs, Clock::time_point deadline) {
  impl_->check_usable();
  for (size_t i = 0; i < specs.size(); ++i) impl_->check_spec(specs[i], i);
  auto job = std::make_shared<Job>(std::move(specs), deadline);
  if (job->specs.empty()) {
    job->finish();
    return job;
  }
  {
    const std::lock_guard<std::mutex> lock(impl_->mutex);
    impl_->check_open();
    impl_->inbox.push_back(job);
  }
  impl_->wake.notify_one();
  return job;
}

std::string Engine::save(const StatePtr& state) const {
  impl_->check_usable();
  if (state->pool() != impl_->pool.get()) {
    throw std::invalid_argument("state: expected one of this engine, got another's");
  }
  const auto writing = impl_->between_forwards();
  if (state->spent()) throw std::invalid_argument("state: it was consumed by another segment");
  return save_state(impl_->shelves(), *state);
}

StatePtr Engine::restore(const std::string& bytes) {
  impl_->check_usable();
  const auto writing = impl_->between_forwards();
  return restore_state(impl_->shelves(), impl_->pool, impl_->slot_pool, bytes);
}

StatePtr Engine::root() const { return impl_->root; }

EngineStats Engine::stats() const {
  impl_->check_usable();
  EngineStats stats;
  {
    const std::lock_guard<std::mutex> lock(impl_->mutex);
    stats = impl_->stats;
  }
  stats.pages_used = impl_->pool->used();
  stats.pages_total = impl_->pool->total();
  if (impl_->slot_pool) {
    stats.slots_used = impl_->slot_pool->used();
    stats.slots_total = impl_->slot_pool->total();
  }
  const EngineConfig& config = impl_->config;
  stats.forward_tokens = impl_->next_tokens();
  stats.memory_total = config.memory;
  stats.memory_scratch = scratch_bytes(config);
  stats.memory_used = stats.memory_scratch + stats.pages_used * page_bytes(config) * config.layers +
                      stats.slots_used * slot_bytes(config);
  return stats;
}

const char* Engine::isa() const { return impl_->isa.c_str(); }
bool Engine::writes() const { return impl_->writes; }
int Engine::threads() const { return impl_->config.threads; }
const std::string& Engine::ort_version() const { return impl_->library.version; }

void Engine::close() {
  impl_->check_usable();
  impl_->close();
}

}  // namespace stepguard
