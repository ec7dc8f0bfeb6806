// Owns the arenas and the worker thread that packs whatever waits into one forward at a time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels.h"
#include "segment.h"

namespace stepguard {

struct EngineConfig {
  std::string model_path;  // model.onnx; weights.bin lies beside it
  std::string ort_path;    // the ONNX Runtime shared library
  std::string isa;         // name of a kernel table
  int threads = 1;
  bool kv_half = true;
  Activations activations = Activations::kFloat32;  // beside int4 and int8 weights
  int64_t memory = 0;                               // bytes for KV pages, slots and scratch
  int64_t row_bytes = 0;                            // most scratch that a token of a forward takes
  int64_t chunk = 512;                              // most tokens of one forward
  int64_t layers = 0, kv_heads = 0, head_dim = 0;   // attention layers
  int64_t delta_layers = 0;  // recurrent layers, and the floats of one slot in each of them
  int64_t conv_floats = 0, delta_floats = 0;
  int64_t vocabulary = 0;            // rows of the embedding table
  int64_t context = 0;               // longest path in tokens
  double budget = 0.1;               // seconds that a forward may take, as far as `chunk` allows
  std::vector<std::string> watched;  // mapped files, which must not change
  std::string cuda_path;             // the library of GPU kernels; empty: the CPU
  int64_t gpu_memory = 0;  // bytes of the GPU for all, weights too; 0: whatever is free there
};

struct EngineStats {
  int64_t tokens = 0;  // rows that went through a forward
  int64_t forwards = 0;
  int64_t copied_tokens = 0;  // tokens whose keys and values were copied to another page
  int64_t pages_used = 0, pages_total = 0;
  int64_t slots_used = 0, slots_total = 0;
  double busy_seconds = 0;                    // time inside forwards
  int64_t memory_used = 0, memory_total = 0;  // bytes of pages, slots and scratch
  int64_t memory_scratch = 0;                 // of these, what a forward may take
  int64_t forward_tokens = 0;                 // what the next forward may take, by the speed so far
  std::vector<std::pair<std::string, double>> op_seconds;  // time inside each operation
};

class Engine {
 public:
  // Loads the graph and runs one token through it. Throws Error; std::invalid_argument for a
  // configuration that makes no sense.
  explicit Engine(const EngineConfig& config);
  // Fails what waits and joins the threads. In a forked child nothing is released.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Queues a forest. Throws std::invalid_argument naming the segment that is wrong, and Error when
  // the engine is closed or belongs to the parent of a fork. Thread-safe.
  // What has not run by `deadline` ends with kDeadline.
  JobPtr submit(std::vector<SegmentSpec> specs,
                Clock::time_point deadline = Clock::time_point::max());

  // The content of a State as bytes, and a State of it, between two forwards. Throw Error where
  // `submit` does; std::invalid_argument for bytes of another model or a State of another engine,
  // std::bad_alloc when no page or slot is free.
  std::string save(const StatePtr& state) const;
  StatePtr restore(const std::string& bytes);

  StatePtr root() const;  // the State that has read nothing
  EngineStats stats() const;
  const char* isa() const;
  int threads() const;  // of a forward
  bool writes() const;  // whether the graph gives next tokens
  const std::string& ort_version() const;
  void close();  // idempotent; what waits ends as kClosing

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace stepguard
