// An encoder classifier as a plain ONNX Runtime session, in the library that engines run in.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "ort_library.h"

namespace stepguard {

// Standard operations on the CPU provider. Never changed once it is made: any number of threads may
// run it at once.
class Screen {
 public:
  // threads: intra-op threads; 1 runs in the caller's. Throws Error(kModelFormat) when ONNX Runtime
  // refuses the graph, or its inputs are not int64 input_ids, attention_mask and perhaps
  // token_type_ids, its output not float32 logits, all of rank 2. std::invalid_argument for threads
  // outside 1 to 1024.
  Screen(const OrtLibrary& library, const std::string& model_path, int threads);
  ~Screen();
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  // ids, mask: int64 [batch, length], row after row. Returns float32 [batch, labels].
  // Throws std::runtime_error with ONNX Runtime's text when the graph refuses or gives another
  // shape, and Error(kForked) in a child of fork().
  std::vector<float> run(std::vector<int64_t> ids, std::vector<int64_t> mask, int64_t batch,
                         int64_t length, int64_t* labels) const;

 private:
  void open(const OrtLibrary& library, const std::string& model_path, int threads);
  void close() noexcept;
  std::vector<std::string> ports(bool input) const;

  const OrtFunctions& ort_;
  const pid_t pid_;
  bool types_ = false;  // whether it asks for token_type_ids
  OrtSession* session_ = nullptr;
  OrtMemoryInfo* memory_ = nullptr;
};

}  // namespace stepguard
