#include "sizes.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace stepguard {
namespace {

void require_range(const char* name, int64_t value, int64_t least, int64_t most) {
  if (value < least || value > most) {
    throw std::invalid_argument(std::string(name) + ": expected " + std::to_string(least) + " to " +
                                std::to_string(most) + ", got " + std::to_string(value));
  }
}

// A forward takes at least so many tokens, however small the memory.
constexpr int64_t kLeastChunk = 16;

}  // namespace

// The bounds are far beyond any model: products of the sizes stay far from the end of int64.
EngineConfig checked(EngineConfig config) {
  const int64_t floats = config.delta_layers > 0 ? 1 : 0;
  require_range("layers", config.layers, config.delta_layers > 0 ? 0 : 1, 4096);
  require_range("delta_layers", config.delta_layers, 0, 4096);
  require_range("kv_heads", config.kv_heads, 1, 65536);
  require_range("head_dim", config.head_dim, 1, kMaxHeadDim);
  require_range("conv_floats", config.conv_floats, floats, int64_t{1} << 31);
  require_range("delta_floats", config.delta_floats, floats, int64_t{1} << 31);
  require_range("vocabulary", config.vocabulary, 1, int64_t{1} << 31);
  require_range("context", config.context, 1, int64_t{1} << 30);
  require_range("threads", config.threads, 1, 1024);
  require_range("chunk", config.chunk, 1, int64_t{1} << 30);
  require_range("row_bytes", config.row_bytes, 0, int64_t{1} << 31);
  require_range("memory", config.memory, 1, int64_t{1} << 60);
  require_range("gpu_memory", config.gpu_memory, 0, int64_t{1} << 60);
  if (config.gpu_memory > 0 && config.gpu_memory <= config.memory) {
    throw std::invalid_argument(
        "gpu_memory: expected more than the " + std::to_string(config.memory) +
        " bytes of KV pages, slots and scratch, got " + std::to_string(config.gpu_memory));
  }
  if (!(config.budget > 0 && config.budget <= 3600)) {
    throw std::invalid_argument("budget_ms: expected more than 0 and at most 3,600,000, got " +
                                std::to_string(config.budget * 1000));
  }
  if (config.row_bytes > 0) {
    const int64_t rows = std::max(kLeastChunk, config.memory / 4 / config.row_bytes);
    config.chunk = std::min(config.chunk, rows);
  }
  return config;
}

int64_t scratch_bytes(const EngineConfig& config) { return config.chunk * config.row_bytes; }

int64_t device_scratch(const EngineConfig& config) {
  return config.gpu_memory > 0 ? scratch_bytes(config) : 0;
}

int64_t runtime_memory(const EngineConfig& config) {
  return config.gpu_memory > 0 ? config.gpu_memory - config.memory : 0;
}

AttentionShape attention_shape(const EngineConfig& config) {
  AttentionShape shape;
  shape.kv_heads = config.kv_heads;
  shape.head_dim = config.head_dim;
  shape.kv_half = config.kv_half;
  return shape;
}

int64_t page_bytes(const EngineConfig& config) { return attention_shape(config).page_bytes(); }

int64_t slot_bytes(const EngineConfig& config) {
  return config.delta_layers * (config.conv_floats + config.delta_floats) * kFloatBytes;
}

// Recurrent slots take at most half of the memory: a State of a hybrid is big, and each session
// keeps one or two.
int64_t slot_count(const EngineConfig& config) {
  if (config.delta_layers == 0) return 0;
  const int64_t slot = slot_bytes(config);
  const int64_t slots = (config.memory - scratch_bytes(config)) / 2 / slot;
  if (slots < 3) {
    const int64_t least = std::max(8 * slot, 6 * slot + kLeastChunk * config.row_bytes);
    throw std::invalid_argument("memory: expected at least " + std::to_string(least) +
                                " bytes (three recurrent slots, as much for KV pages, and the "
                                "scratch of a forward), got " +
                                std::to_string(config.memory));
  }
  return std::min<int64_t>(slots, 4096);
}

int64_t page_count(const EngineConfig& config) {
  // A model without attention has pages of nothing, which still count positions.
  const int64_t page = std::max<int64_t>(page_bytes(config) * config.layers, kPage * kFloatBytes);
  const int64_t taken = scratch_bytes(config) + slot_count(config) * slot_bytes(config);
  const int64_t pages = (config.memory - taken) / page;
  if (pages < 4) {
    throw std::invalid_argument("memory: expected at least " + std::to_string(taken + 4 * page) +
                                " bytes (four KV pages, the scratch of a forward and what is "
                                "recurrent), got " +
                                std::to_string(config.memory));
  }
  return std::min<int64_t>(pages, int64_t{1} << 24);
}

}  // namespace stepguard
