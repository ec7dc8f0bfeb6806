#include "engine.h"

#include <unistd.h>

#include <chrono>
#include <deque>
#include <stdexcept>
#include <thread>

#include "cuda_library.h"
#include "error.h"
#include "graph.h"
#include "ort/cuda/device.h"
#include "saving.h"
#include "sizes.h"
#include "speed.h"
#include "thread_pool.h"
#include "watch.h"

namespace stepguard {
namespace {

// Made once: a failure for want of memory must not need memory.
const std::string kClosed = "the guard was closed", kOutOfMemory = "the process is out of memory";

// Null for the CPU.
const cuda::Table* choose_device(const std::string& path) {
  return path.empty() ? nullptr : &open_cuda_library(path);
}

const KernelTable& choose_table(const std::string& isa) {
  const KernelTable* table = find_table(isa.c_str());
  if (table == nullptr) {
    throw std::invalid_argument("isa '" + isa + "': " + table_problem(isa.c_str()));
  }
  return *table;
}

}  // namespace

struct Engine::Impl {
  explicit Impl(const EngineConfig& given)
      : config(checked(given)),
        pid(getpid()),
        pages(page_count(config)),
        slots(slot_count(config)),
        library(open_ort_library(config.ort_path)),
        cuda(choose_device(config.cuda_path)),
        threads(cuda == nullptr ? config.threads : 1),  // a GPU needs no helpers
        pool(std::make_shared<PagePool>(static_cast<int32_t>(pages))),
        slot_pool(slots > 0 ? std::make_shared<PagePool>(static_cast<int32_t>(slots)) : nullptr),
        root(std::make_shared<const State>(pool, std::vector<int32_t>{}, 0)),
        planner(pool, config.context, config.chunk, slot_pool),
        arena(config.layers, pages, page_bytes(config), cuda),
        conv_arena(config.delta_layers, slots, config.conv_floats * kFloatBytes, cuda),
        delta_arena(config.delta_layers, slots, config.delta_floats * kFloatBytes, cuda),
        watch(config.watched) {
    context.ort = library.functions;
    context.table = &choose_table(config.isa);
    context.parallel = &threads;
    isa = context.table->name;
    if (cuda != nullptr) {
      device = std::make_unique<Device>(*cuda, device_scratch(config));
      context.device = device.get();
      isa = std::string("cuda, ") + cuda->describe();
    }
    if (config.activations == Activations::kBfloat16 &&
        (cuda != nullptr || !context.table->multiplies_bfloat16)) {
      throw std::invalid_argument("activations: " + isa + " does not multiply in bfloat16");
    }
    context.activations = config.activations;
    graph = std::make_unique<Graph>(library, context, config.model_path, config.layers,
                                    config.delta_layers, runtime_memory(config));
    writes = graph->writes();
    graph->bind(arena, pages, page_bytes(config), config.kv_half);
    graph->bind_slots(conv_arena, delta_arena, slots, config.conv_floats, config.delta_floats);
    worker = std::thread([this] { loop(); });
  }

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

// Counters begin after the token that tries the graph out; nothing else runs yet.
void Engine::Impl::forget_probe() {
  const std::lock_guard<std::mutex> lock(mutex);
  stats = EngineStats{};
  context.times.clear();
}

int64_t Engine::Impl::next_tokens() const {
  const std::lock_guard<std::mutex> lock(mutex);
  return speed.tokens(config.budget, config.chunk);
}

std::unique_lock<std::mutex> Engine::Impl::between_forwards() const {
  std::unique_lock<std::mutex> writing(forward_mutex);
  const std::lock_guard<std::mutex> lock(mutex);
  check_open();
  return writing;
}

Shelves Engine::Impl::shelves() const {
  return {*context.table,
          attention_shape(config),
          config.layers,
          config.delta_layers,
          config.conv_floats * kFloatBytes,
          config.delta_floats * kFloatBytes,
          config.context,
          arena,
          conv_arena,
          delta_arena};
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

void Engine::Impl::check_usable() const {
  if (getpid() != pid) {
    throw Error(ErrorKind::kForked, "this guard", "the process that loaded it",
                "a child made by fork()", "Load the guard in the child, after the fork.");
  }
}

void Engine::Impl::check_open() const {
  if (!stop) return;
  throw Error(ErrorKind::kEngineClosed, "this guard", "an open guard", "one that was closed",
              "Load it again.");
}

void Engine::Impl::check_spec(const SegmentSpec& spec, size_t index) const {
  const auto refuse = [&](const std::string& text) {
    throw std::invalid_argument("segment " + std::to_string(index) + ": " + text);
  };
  if (spec.parent_index >= 0) {
    if (static_cast<size_t>(spec.parent_index) >= index) {
      refuse("parent " + std::to_string(spec.parent_index) + " does not come before it");
    }
  } else if (!spec.parent) {
    refuse("no parent");
  } else if (spec.parent->pool() != pool.get()) {
    refuse("its parent is a State of another engine");
  }
  if (spec.parent && spec.parent->spent()) refuse("its parent was consumed by another segment");
  if (spec.tokens.empty() && (!spec.read.empty() || spec.next)) {
    refuse("nothing to read after no tokens");
  }
  if (spec.next && !writes) {
    refuse("the next token is wanted of a model that was exported without rationale");
  }
  const auto check_ids = [&](const std::vector<int32_t>& ids, const char* what) {
    for (const int32_t id : ids) {
      if (id < 0 || id >= config.vocabulary) {
        refuse(std::string(what) + " id " + std::to_string(id) + " is not below " +
               std::to_string(config.vocabulary));
      }
    }
  };
  check_ids(spec.tokens, "token");
  check_ids(spec.read, "output row");
}

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
