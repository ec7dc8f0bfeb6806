// The graph of a model directory as an ONNX Runtime session over our own operations.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "arena.h"
#include "ort/register.h"
#include "ort_library.h"
#include "planner.h"

namespace stepguard {

struct ForwardOutput {
  std::vector<float> logits, hidden;
  int64_t width = 0;
  std::vector<int32_t> next_ids;
  std::vector<float> next_scores;
};

// Owns the session and the operations bound to `context`. One run at a time.
class Graph {
 public:
  // Throws Error(kModelFormat) when ONNX Runtime refuses the graph or its inputs and outputs are
  // not those of the format; all mismatches are named at once. Error(kRuntimeMissing) when a GPU is
  // wanted and this ONNX Runtime has no provider for it.
  // gpu_memory: bytes that ONNX Runtime may take of a GPU, weights included; 0: whatever is free.
  Graph(const OrtLibrary& library, OpContext& context, const std::string& model_path,
        int64_t layers, int64_t delta_layers, int64_t gpu_memory);
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  // Binds the arena's regions as the inputs kv.0, kv.1, ...
  void bind(const Arena& arena, int64_t pages, int64_t page_bytes, bool kv_half);

  // Binds the recurrent slots of a hybrid as the inputs conv.0, delta.0, conv.1, ...
  void bind_slots(const Arena& conv, const Arena& delta, int64_t slots, int64_t conv_floats,
                  int64_t delta_floats);

  // Throws OpError with the operation's text when a node refuses.
  ForwardOutput run(const Forward& forward);

  // Whether it has the input `nexts`: guards that never write are exported without.
  bool writes() const { return writes_; }

 private:
  void use_cuda(OrtSessionOptions* options, int64_t gpu_memory);
  void release();
  void run_session(const std::vector<const char*>& names,
                   const std::vector<const OrtValue*>& values,
                   const std::vector<const char*>& output_names, std::vector<OrtValue*>& outputs);
  OrtValue* tensor(const OrtMemoryInfo* memory, const void* data, size_t bytes,
                   const std::vector<int64_t>& shape, ONNXTensorElementDataType type) const;
  void bind_region(const std::string& name, const Arena& arena, int64_t layer,
                   const std::vector<int64_t>& shape, ONNXTensorElementDataType type);
  std::vector<int64_t> shape_of(const OrtValue* value) const;
  void check_ports();
  using Ports = std::map<std::string, std::string>;  // name -> type, in words
  Ports ports(bool input) const;
  std::string describe(size_t index, bool input) const;
  template <typename T>
  void take(const OrtValue* output, const std::vector<int64_t>& shape, const char* name,
            std::vector<T>& target) const;

  const OrtFunctions& ort_;
  OpContext& context_;
  int64_t layers_, delta_layers_;
  bool writes_ = false;
  std::vector<std::unique_ptr<BoundOp>> ops_;  // must outlive the session
  OrtSession* session_ = nullptr;
  OrtMemoryInfo* memory_ = nullptr;         // of the host
  OrtMemoryInfo* device_memory_ = nullptr;  // of a GPU, where the arenas are; else null
  OrtRunOptions* shrinking_ = nullptr;      // of runs after which a GPU gets back what nobody uses
  bool short_of_memory_ = false;            // the last run found none on the GPU
  std::vector<std::string> arena_names_;
  std::vector<OrtValue*> arenas_;
  std::vector<int32_t> kv_half_{0};
};

}  // namespace stepguard
