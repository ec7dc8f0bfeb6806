#include "engine_impl.h"

#include <unistd.h>

#include <stdexcept>

#include "cuda_library.h"
#include "sizes.h"

namespace stepguard {
namespace {

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

Engine::Impl::Impl(const EngineConfig& given)
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

// Counters begin after the token that tries the graph out; nothing else runs yet.
void Engine::Impl::forget_probe() {
  const std::lock_guard<std::mutex> lock(mutex);
  stats = EngineStats{};
  context.times.clear();
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

}  // namespace stepguard
