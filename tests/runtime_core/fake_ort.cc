#include "fake_ort.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "fake_session.h"

namespace stepguard::fake {
namespace {

Gpu& gpu() {
  static Gpu found;
  return found;
}

// Named like the functions of the real table; the macro below checks the signatures.
namespace api {

OrtStatus* CreateStatus(OrtErrorCode code, const char* text) { return new OrtStatus{code, text}; }
OrtErrorCode GetErrorCode(const OrtStatus* status) { return status->code; }
const char* GetErrorMessage(const OrtStatus* status) { return status->text.c_str(); }
const char* GetBuildInfoString() { return "ORT Build Info: a fake for tests"; }

OrtStatus* CreateEnv(OrtLoggingLevel, const char*, OrtEnv** out) {
  static char environment;
  *out = reinterpret_cast<OrtEnv*>(&environment);
  return nullptr;
}
void ReleaseEnv(OrtEnv*) {}
OrtStatus* CreateCpuMemoryInfo(OrtAllocatorType, OrtMemType, OrtMemoryInfo** out) {
  static char memory;
  *out = reinterpret_cast<OrtMemoryInfo*>(&memory);
  return nullptr;
}
OrtStatus* CreateMemoryInfo(const char*, OrtAllocatorType, int, OrtMemType type,
                            OrtMemoryInfo** out) {
  return CreateCpuMemoryInfo(OrtDeviceAllocator, type, out);
}
void ReleaseMemoryInfo(OrtMemoryInfo*) {}
OrtStatus* GetAllocatorWithDefaultOptions(OrtAllocator** out) {
  *out = nullptr;
  return nullptr;
}
OrtStatus* AllocatorFree(OrtAllocator*, void* text) {
  std::free(text);
  return nullptr;
}

OrtStatus* CreateSessionOptions(OrtSessionOptions** out) {
  *out = new OrtSessionOptions();
  return nullptr;
}
OrtStatus* SetSessionExecutionMode(OrtSessionOptions*, ExecutionMode) { return nullptr; }
OrtStatus* SetSessionGraphOptimizationLevel(OrtSessionOptions*, GraphOptimizationLevel) {
  return nullptr;
}
OrtStatus* SetIntraOpNumThreads(OrtSessionOptions*, int) { return nullptr; }
OrtStatus* SetInterOpNumThreads(OrtSessionOptions*, int) { return nullptr; }
OrtStatus* AddSessionConfigEntry(OrtSessionOptions*, const char*, const char*) { return nullptr; }
OrtStatus* CreateCustomOpDomain(const char*, OrtCustomOpDomain** out) {
  *out = new OrtCustomOpDomain();
  return nullptr;
}
OrtStatus* CustomOpDomain_Add(OrtCustomOpDomain* domain, const OrtCustomOp* op) {
  domain->ops[op->GetName(op)] = op;
  return nullptr;
}
OrtStatus* AddCustomOpDomain(OrtSessionOptions* options, OrtCustomOpDomain* domain) {
  options->ops = domain->ops;
  return nullptr;
}

OrtStatus* CreateCUDAProviderOptions(OrtCUDAProviderOptionsV2** out) {
  if (!gpu().there) return CreateStatus(ORT_FAIL, "this fake has no GPU");
  *out = new OrtCUDAProviderOptionsV2();
  return nullptr;
}
OrtStatus* UpdateCUDAProviderOptions(OrtCUDAProviderOptionsV2* options, const char* const* keys,
                                     const char* const* values, size_t count) {
  for (size_t i = 0; i < count; ++i) options->entries[keys[i]] = values[i];
  return nullptr;
}
OrtStatus* SessionOptionsAppendExecutionProvider_CUDA_V2(OrtSessionOptions*,
                                                         const OrtCUDAProviderOptionsV2* options) {
  gpu().told = options->entries;
  return nullptr;
}
void ReleaseCUDAProviderOptions(OrtCUDAProviderOptionsV2* options) { delete options; }
OrtStatus* CreateRunOptions(OrtRunOptions** out) {
  *out = new OrtRunOptions();
  return nullptr;
}
OrtStatus* AddRunConfigEntry(OrtRunOptions* options, const char* key, const char* value) {
  options->entries[key] = value;
  return nullptr;
}
void ReleaseRunOptions(OrtRunOptions* options) { delete options; }
OrtStatus* KernelContext_GetGPUComputeStream(const OrtKernelContext*, void** out) {
  *out = nullptr;
  return nullptr;
}

OrtStatus* CreateSession(const OrtEnv*, const char*, const OrtSessionOptions* options,
                         OrtSession** out) {
  return open_session(*options, out);
}
OrtStatus* Run(OrtSession* session, const OrtRunOptions* options, const char* const* names,
               const OrtValue* const* values, size_t count, const char* const*, size_t,
               OrtValue** outputs) {
  if (options != nullptr && options->entries.count("memory.enable_memory_arena_shrinkage") != 0) {
    ++gpu().shrunk;
  }
  std::map<std::string, const OrtValue*> inputs;
  for (size_t i = 0; i < count; ++i) inputs[names[i]] = values[i];
  return run_session(*session, inputs, outputs);
}
OrtStatus* SessionGetInputCount(const OrtSession*, size_t* out) {
  *out = ports(true).size();
  return nullptr;
}
OrtStatus* SessionGetOutputCount(const OrtSession*, size_t* out) {
  *out = ports(false).size();
  return nullptr;
}
OrtStatus* SessionGetInputTypeInfo(const OrtSession*, size_t index, OrtTypeInfo** out) {
  *out = new OrtTypeInfo{ports(true)[index].info};
  return nullptr;
}
OrtStatus* SessionGetOutputTypeInfo(const OrtSession*, size_t index, OrtTypeInfo** out) {
  *out = new OrtTypeInfo{ports(false)[index].info};
  return nullptr;
}
OrtStatus* SessionGetInputName(const OrtSession*, size_t index, OrtAllocator*, char** out) {
  *out = strdup(ports(true)[index].name);
  return nullptr;
}
OrtStatus* SessionGetOutputName(const OrtSession*, size_t index, OrtAllocator*, char** out) {
  *out = strdup(ports(false)[index].name);
  return nullptr;
}

OrtStatus* CreateTensorWithDataAsOrtValue(const OrtMemoryInfo*, void* data, size_t bytes,
                                          const int64_t* shape, size_t rank,
                                          ONNXTensorElementDataType type, OrtValue** out) {
  auto value = std::make_unique<OrtValue>();
  value->info = {type, {shape, shape + rank}};
  value->data = data;
  size_t wanted = element_bytes(type);
  for (size_t i = 0; i < rank; ++i) wanted *= static_cast<size_t>(shape[i]);
  if (wanted > bytes) return CreateStatus(ORT_INVALID_ARGUMENT, "a tensor beyond its memory");
  *out = value.release();
  return nullptr;
}
OrtStatus* GetTensorMutableData(OrtValue* value, void** out) {
  *out = value->data;
  return nullptr;
}
OrtStatus* CastTypeInfoToTensorInfo(const OrtTypeInfo* type,
                                    const OrtTensorTypeAndShapeInfo** out) {
  *out = &type->info;
  return nullptr;
}
OrtStatus* GetTensorElementType(const OrtTensorTypeAndShapeInfo* info,
                                ONNXTensorElementDataType* out) {
  *out = info->type;
  return nullptr;
}
OrtStatus* GetDimensionsCount(const OrtTensorTypeAndShapeInfo* info, size_t* out) {
  *out = info->shape.size();
  return nullptr;
}
OrtStatus* GetDimensions(const OrtTensorTypeAndShapeInfo* info, int64_t* out, size_t rank) {
  std::copy_n(info->shape.begin(), rank, out);
  return nullptr;
}
OrtStatus* GetTensorTypeAndShape(const OrtValue* value, OrtTensorTypeAndShapeInfo** out) {
  *out = new OrtTensorTypeAndShapeInfo(value->info);
  return nullptr;
}

template <typename Table, typename Value>
OrtStatus* attribute(const Table& table, const char* name, Value* out) {
  const auto found = table.find(name);
  if (found == table.end()) return CreateStatus(ORT_FAIL, "no such attribute");
  *out = found->second;
  return nullptr;
}
OrtStatus* copy_text(const std::string& text, char* out, size_t* size) {
  const size_t room = *size;
  *size = text.size() + 1;
  if (out == nullptr) return nullptr;
  if (room < *size) return CreateStatus(ORT_INVALID_ARGUMENT, "no room for the text");
  std::memcpy(out, text.c_str(), *size);
  return nullptr;
}
OrtStatus* KernelInfoGetAttribute_float(const OrtKernelInfo* info, const char* name, float* out) {
  return attribute(info->reals, name, out);
}
OrtStatus* KernelInfoGetAttribute_int64(const OrtKernelInfo* info, const char* name, int64_t* out) {
  return attribute(info->integers, name, out);
}
OrtStatus* KernelInfoGetAttribute_string(const OrtKernelInfo* info, const char* name, char* out,
                                         size_t* size) {
  std::string text;
  OrtStatus* status = attribute(info->texts, name, &text);
  return status != nullptr ? status : copy_text(text, out, size);
}
OrtStatus* KernelInfo_GetNodeName(const OrtKernelInfo* info, char* out, size_t* size) {
  return copy_text(info->name, out, size);
}

OrtStatus* KernelContext_GetInputCount(const OrtKernelContext* context, size_t* out) {
  *out = context->inputs.size();
  return nullptr;
}
OrtStatus* KernelContext_GetInput(const OrtKernelContext* context, size_t index,
                                  const OrtValue** out) {
  *out = context->inputs[index];
  return nullptr;
}
OrtStatus* KernelContext_GetOutput(OrtKernelContext* context, size_t index, const int64_t* shape,
                                   size_t rank, OrtValue** out) {
  if (context->outputs.size() <= index) context->outputs.resize(index + 1);
  try {
    context->outputs[index] = make_tensor(kOrtFloat, {shape, shape + rank});
  } catch (const std::bad_alloc&) {
    return CreateStatus(ORT_FAIL, "no memory for an output");
  }
  *out = context->outputs[index].get();
  return nullptr;
}

void ReleaseStatus(OrtStatus* status) { delete status; }
void ReleaseSession(OrtSession* session) { close_session(session); }
void ReleaseValue(OrtValue* value) { delete value; }
void ReleaseTypeInfo(OrtTypeInfo* type) { delete type; }
void ReleaseTensorTypeAndShapeInfo(OrtTensorTypeAndShapeInfo* info) { delete info; }
void ReleaseSessionOptions(OrtSessionOptions* options) { delete options; }
void ReleaseCustomOpDomain(OrtCustomOpDomain* domain) { delete domain; }

}  // namespace api

constexpr size_t kSlots = 255;

struct Functions {
  const void* slots[kSlots] = {};
  Functions() {
#define STEPGUARD_PLACE(slot, name, result, arguments)     \
  {                                                        \
    result(*const function) arguments = api::name;         \
    static_assert(slot < kSlots, #name);                   \
    slots[slot] = reinterpret_cast<const void*>(function); \
  }
    STEPGUARD_ORT_FUNCTIONS(STEPGUARD_PLACE)
#undef STEPGUARD_PLACE
  }
};

}  // namespace

const void* const* functions() {
  static const Functions table;
  return table.slots;
}

}  // namespace stepguard::fake

extern "C" __attribute__((visibility("default"))) stepguard::fake::Gpu* stepguard_fake_gpu() {
  return &stepguard::fake::gpu();
}
