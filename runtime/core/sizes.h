// How the memory of an engine is divided: pages of keys and values, and recurrent slots.
#pragma once

#include "engine.h"
#include "kernels.h"

namespace stepguard {

constexpr int64_t kFloatBytes = sizeof(float);

// The configuration, with a chunk whose scratch takes no more than a quarter of the memory. Throws
// std::invalid_argument for one that makes no sense.
EngineConfig checked(EngineConfig config);

AttentionShape attention_shape(const EngineConfig& config);
int64_t page_bytes(const EngineConfig& config);  // of one layer
int64_t slot_bytes(const EngineConfig& config);  // of all layers

int64_t scratch_bytes(const EngineConfig& config);  // of a forward of `chunk` tokens

// Of a GPU's memory: what the scratch of our operations may take, and what ONNX Runtime may take
// for weights and for the rows between operations; 0: whatever is free. All that an engine takes is
// the pages, the slots and these two.
int64_t device_scratch(const EngineConfig& config);
int64_t runtime_memory(const EngineConfig& config);

// How many the budget has room for. Throw std::invalid_argument when it is too small.
int64_t slot_count(const EngineConfig& config);
int64_t page_count(const EngineConfig& config);

}  // namespace stepguard
