#include "screen.h"

#include <unistd.h>

#include <algorithm>
#include <memory>
#include <stdexcept>

#include "error.h"
#include "ort_owned.h"

namespace stepguard {
namespace {

constexpr int kMostThreads = 1024;
const char* const kIds = "input_ids";
const char* const kMask = "attention_mask";
const char* const kTypes = "token_type_ids";
const char* const kLogits = "logits";

void check(const OrtFunctions& ort, OrtStatus* status) {
  if (status == nullptr) return;
  const std::string text = ort.GetErrorMessage(status);
  ort.ReleaseStatus(status);
  throw std::runtime_error(text);
}

std::string port(const std::string& name, int type, size_t rank) {
  const char* kind = type == kOrtFloat ? " float32" : type == kOrtInt64 ? " int64" : nullptr;
  return name + (kind != nullptr ? kind : " type " + std::to_string(type)) + " of rank " +
         std::to_string(rank);
}

std::string joined(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ", ") + part;
  return text.empty() ? "none" : text;
}

}  // namespace

Screen::Screen(const OrtLibrary& library, const std::string& model_path, int threads)
    : ort_(library.functions), pid_(getpid()) {
  if (threads < 1 || threads > kMostThreads) {
    throw std::invalid_argument("threads: expected 1 to 1024, got " + std::to_string(threads));
  }
  try {
    open(library, model_path, threads);
  } catch (const Error&) {
    close();
    throw;
  } catch (const std::runtime_error& error) {
    close();
    throw Error(ErrorKind::kModelFormat, model_path, "a graph that ONNX Runtime can run",
                error.what(), "Export the screen again.");
  } catch (...) {  // no memory
    close();
    throw;
  }
}

Screen::~Screen() { close(); }

void Screen::close() noexcept {
  if (getpid() != pid_) return;  // a child of fork(): the threads of the session are not there
  if (session_ != nullptr) ort_.ReleaseSession(session_);
  if (memory_ != nullptr) ort_.ReleaseMemoryInfo(memory_);
}

void Screen::open(const OrtLibrary& library, const std::string& model_path, int threads) {
  OrtSessionOptions* made = nullptr;
  check(ort_, ort_.CreateSessionOptions(&made));
  const Owned<OrtSessionOptions> options(made, ort_.ReleaseSessionOptions);
  check(ort_, ort_.SetIntraOpNumThreads(made, threads));
  check(ort_, ort_.SetInterOpNumThreads(made, 1));
  check(ort_, ort_.SetSessionExecutionMode(made, ORT_SEQUENTIAL));
  check(ort_, ort_.SetSessionGraphOptimizationLevel(made, ORT_ENABLE_EXTENDED));
  check(ort_, ort_.AddSessionConfigEntry(made, "session.intra_op.allow_spinning", "0"));
  check(ort_, ort_.CreateSession(library.environment, model_path.c_str(), made, &session_));
  check(ort_, ort_.CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &memory_));
  const std::vector<std::string> inputs = ports(true), outputs = ports(false);
  std::vector<std::string> wanted = {port(kMask, kOrtInt64, 2), port(kIds, kOrtInt64, 2)};
  types_ = inputs.size() == 3;
  if (types_) wanted.push_back(port(kTypes, kOrtInt64, 2));
  const std::string logits = port(kLogits, kOrtFloat, 2);
  if (inputs != wanted || outputs != std::vector<std::string>{logits}) {
    throw Error(ErrorKind::kModelFormat, model_path,
                "the inputs " + joined(wanted) + " and the output " + logits,
                "the inputs " + joined(inputs) + " and the output " + joined(outputs),
                "Export it with: stepguard screen export CHECKPOINT OUT");
  }
}

std::vector<std::string> Screen::ports(bool input) const {
  OrtAllocator* allocator = nullptr;
  check(ort_, ort_.GetAllocatorWithDefaultOptions(&allocator));
  size_t count = 0;
  check(ort_, input ? ort_.SessionGetInputCount(session_, &count)
                    : ort_.SessionGetOutputCount(session_, &count));
  std::vector<std::string> found;
  for (size_t i = 0; i < count; ++i) {
    char* name = nullptr;
    check(ort_, input ? ort_.SessionGetInputName(session_, i, allocator, &name)
                      : ort_.SessionGetOutputName(session_, i, allocator, &name));
    const std::string kept = name;
    check(ort_, ort_.AllocatorFree(allocator, name));
    OrtTypeInfo* type = nullptr;
    check(ort_, input ? ort_.SessionGetInputTypeInfo(session_, i, &type)
                      : ort_.SessionGetOutputTypeInfo(session_, i, &type));
    const Owned<OrtTypeInfo> release(type, ort_.ReleaseTypeInfo);
    const OrtTensorTypeAndShapeInfo* info = nullptr;
    check(ort_, ort_.CastTypeInfoToTensorInfo(type, &info));
    ONNXTensorElementDataType element = kOrtAny;
    size_t rank = 0;
    if (info != nullptr) {  // else a sequence or a map
      check(ort_, ort_.GetTensorElementType(info, &element));
      check(ort_, ort_.GetDimensionsCount(info, &rank));
    }
    found.push_back(port(kept, element, rank));
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::vector<float> Screen::run(std::vector<int64_t> ids, std::vector<int64_t> mask, int64_t batch,
                               int64_t length, int64_t* labels) const {
  if (getpid() != pid_) {
    throw Error(ErrorKind::kForked, "this screen", "the process that loaded it",
                "a child made by fork()", "Load it in the child, after the fork.");
  }
  const int64_t shape[] = {batch, length};
  std::vector<int64_t> types(types_ ? ids.size() : 0, 0);
  std::vector<Owned<OrtValue>> owned;
  std::vector<const OrtValue*> values;
  const auto add = [&](std::vector<int64_t>& data) {
    OrtValue* value = nullptr;
    check(ort_,
          ort_.CreateTensorWithDataAsOrtValue(memory_, data.data(), data.size() * sizeof(int64_t),
                                              shape, 2, kOrtInt64, &value));
    owned.emplace_back(value, ort_.ReleaseValue);
    values.push_back(value);
  };
  add(ids);
  add(mask);
  if (types_) add(types);
  const char* const names[] = {kIds, kMask, kTypes};
  OrtValue* made = nullptr;
  check(ort_, ort_.Run(session_, nullptr, names, values.data(), values.size(), &kLogits, 1, &made));
  const Owned<OrtValue> output(made, ort_.ReleaseValue);

  OrtTensorTypeAndShapeInfo* info = nullptr;
  check(ort_, ort_.GetTensorTypeAndShape(made, &info));
  const Owned<OrtTensorTypeAndShapeInfo> release(info, ort_.ReleaseTensorTypeAndShapeInfo);
  size_t rank = 0;
  check(ort_, ort_.GetDimensionsCount(info, &rank));
  std::vector<int64_t> found(rank);
  check(ort_, ort_.GetDimensions(info, found.data(), rank));
  // ONNX Runtime does not hold a graph to the shapes that it declares.
  if (rank != 2 || found[0] != batch || found[1] < 1) {
    throw std::runtime_error("logits: an output of another shape than [batch, labels]");
  }
  void* data = nullptr;
  check(ort_, ort_.GetTensorMutableData(made, &data));
  const auto* first = static_cast<const float*>(data);
  *labels = found[1];
  return std::vector<float>(first, first + batch * found[1]);
}

}  // namespace stepguard
