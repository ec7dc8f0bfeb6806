// The graph of a model directory as an ONNX Runtime session over our own operations.
#pragma once

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
};

// Owns the session and the operations bound to `context`. One run at a time.
class Graph {
 public:
  // Throws Error(kModelFormat) when ONNX Runtime refuses the graph or its inputs and outputs are
  // not those of the format; all mismatches are named at once.
  Graph(const OrtLibrary& library, OpContext& context, const std::string& model_path,
        int64_t layers, int64_t delta_layers);
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

 private:
  OrtValue* tensor(const void* data, size_t bytes, const std::vector<int64_t>& shape,
                   ONNXTensorElementDataType type) const;
  std::vector<int64_t> shape_of(const OrtValue* value) const;
  void check_ports() const;
  std::string describe(size_t index, bool input) const;

  const OrtFunctions& ort_;
  OpContext& context_;
  int64_t layers_, delta_layers_;
  std::vector<std::unique_ptr<BoundOp>> ops_;  // must outlive the session
  OrtSession* session_ = nullptr;
  OrtMemoryInfo* memory_ = nullptr;
  std::vector<std::string> arena_names_;
  std::vector<OrtValue*> arenas_;
  std::vector<int32_t> kv_half_{0};
};

}  // namespace stepguard
