// The one model that the fake ONNX Runtime knows, whatever model.onnx says: Embed, one Attention
// and one DeltaNet layer, ReadOut, of our own operations.
#pragma once

#include "fake_ort.h"

struct OrtCustomOpDomain {
  std::map<std::string, const OrtCustomOp*> ops;
};

struct OrtSessionOptions {
  std::map<std::string, const OrtCustomOp*> ops;
};

struct OrtRunOptions {
  std::map<std::string, std::string> entries;
};

struct OrtCUDAProviderOptionsV2 {
  std::map<std::string, std::string> entries;
};

namespace stepguard::fake {

constexpr int64_t kVocabulary = 64, kHeads = 2, kKvHeads = 1, kHeadDim = 8, kDeltaDim = 4,
                  kConvWidth = 2;
constexpr int64_t kConvFloats = 3 * kDeltaDim * (kConvWidth - 1);
constexpr int64_t kDeltaFloats = kDeltaDim * kDeltaDim;
constexpr int32_t kRefused = kVocabulary - 1;   // a forward with this token fails
constexpr int32_t kNoMemory = kVocabulary - 2;  // the same, for want of memory

// What a test may ask of the fake: to have a provider for GPUs, what a session of it was told last,
// and how many runs were to give memory back.
struct Gpu {
  bool there = false;
  std::map<std::string, std::string> told;
  int shrunk = 0;
};

struct PortInfo {
  const char* name;
  OrtTensorTypeAndShapeInfo info;
};

const std::vector<PortInfo>& ports(bool inputs);

OrtStatus* open_session(const OrtSessionOptions& options, OrtSession** out);
OrtStatus* run_session(OrtSession& session, const std::map<std::string, const OrtValue*>& inputs,
                       OrtValue** outputs);
void close_session(OrtSession* session);

}  // namespace stepguard::fake
