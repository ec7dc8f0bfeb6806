#include "graph.h"

#include "error.h"
#include "ort/cuda/device.h"
#include "ort_owned.h"

namespace stepguard {

Graph::Graph(const OrtLibrary& library, OpContext& context, const std::string& model_path,
             int64_t layers, int64_t delta_layers, int64_t gpu_memory)
    : ort_(library.functions),
      context_(context),
      layers_(layers),
      delta_layers_(delta_layers),
      ops_(context.device != nullptr ? bind_device_ops(context) : bind_ops(context)) {
  OrtSessionOptions* options = nullptr;
  OrtCustomOpDomain* domain = nullptr;
  try {
    check(ort_, ort_.CreateSessionOptions(&options));
    const Owned<OrtSessionOptions> release_options(options, ort_.ReleaseSessionOptions);
    check(ort_, ort_.SetIntraOpNumThreads(options, 1));
    check(ort_, ort_.SetInterOpNumThreads(options, 1));
    check(ort_, ort_.SetSessionExecutionMode(options, ORT_SEQUENTIAL));
    check(ort_, ort_.SetSessionGraphOptimizationLevel(options, ORT_ENABLE_BASIC));
    check(ort_, ort_.AddSessionConfigEntry(options, "session.intra_op.allow_spinning", "0"));
    check(ort_, ort_.CreateCustomOpDomain("stepguard", &domain));
    const Owned<OrtCustomOpDomain> release_domain(domain, ort_.ReleaseCustomOpDomain);
    for (const std::unique_ptr<BoundOp>& op : ops_) {
      check(ort_, ort_.CustomOpDomain_Add(domain, op.get()));
    }
    check(ort_, ort_.AddCustomOpDomain(options, domain));
    if (ops_[0]->provider != nullptr) use_cuda(options, gpu_memory);
    check(ort_, ort_.CreateSession(library.environment, model_path.c_str(), options, &session_));
    check(ort_, ort_.CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &memory_));
    check_ports();
  } catch (const OpError& error) {
    release();
    if (context.device != nullptr && Device::is_out_of_memory(error.what())) throw std::bad_alloc();
    throw Error(ErrorKind::kModelFormat, model_path, "a graph that this runtime can run",
                error.what(), "Export the checkpoint again with this version of stepguard.");
  } catch (...) {
    release();
    throw;
  }
}

Graph::~Graph() { release(); }

void Graph::release() {
  for (OrtValue* value : arenas_) ort_.ReleaseValue(value);
  if (session_ != nullptr) ort_.ReleaseSession(session_);
  if (memory_ != nullptr) ort_.ReleaseMemoryInfo(memory_);
  if (device_memory_ != nullptr) ort_.ReleaseMemoryInfo(device_memory_);
  if (shrinking_ != nullptr) ort_.ReleaseRunOptions(shrinking_);
}

// The nodes run on the GPU, their weights are copied there, and the arenas lie there. Nothing falls
// back: a session of our operations for this provider has no others.
void Graph::use_cuda(OrtSessionOptions* options, int64_t gpu_memory) {
  OrtCUDAProviderOptionsV2* cuda = nullptr;
  try {
    check(ort_, ort_.CreateCUDAProviderOptions(&cuda));
    const Owned<OrtCUDAProviderOptionsV2> release(cuda, ort_.ReleaseCUDAProviderOptions);
    // Take what is needed, not twice as much: an agent's own model lives on the GPU too.
    const std::string most = std::to_string(gpu_memory);
    const char* const keys[] = {"device_id", "arena_extend_strategy", "gpu_mem_limit"};
    const char* const values[] = {"0", "kSameAsRequested", most.c_str()};
    check(ort_, ort_.UpdateCUDAProviderOptions(cuda, keys, values, gpu_memory > 0 ? 3 : 2));
    check(ort_, ort_.SessionOptionsAppendExecutionProvider_CUDA_V2(options, cuda));
  } catch (const OpError& error) {
    throw Error(ErrorKind::kRuntimeMissing, "device 'cuda'",
                "an ONNX Runtime with the CUDA provider, and the CUDA libraries that it needs",
                error.what(),
                "Type: pip uninstall -y onnxruntime, then pip install 'stepguard[gpu]'");
  }
  // ONNX Runtime keeps the memory of every size of forward that there was, in pieces that fit no
  // other. Where that leaves no room, the next forward ends with giving back what is not in use.
  check(ort_, ort_.CreateRunOptions(&shrinking_));
  check(ort_, ort_.AddRunConfigEntry(shrinking_, "memory.enable_memory_arena_shrinkage", "gpu:0"));
  check(ort_,
        ort_.CreateMemoryInfo("Cuda", OrtDeviceAllocator, 0, OrtMemTypeDefault, &device_memory_));
}

OrtValue* Graph::tensor(const OrtMemoryInfo* memory, const void* data, size_t bytes,
                        const std::vector<int64_t>& shape, ONNXTensorElementDataType type) const {
  OrtValue* value = nullptr;
  // A vector without elements may have no address; ONNX Runtime wants one.
  static int32_t nothing = 0;
  void* address = data != nullptr ? const_cast<void*>(data) : &nothing;
  check(ort_, ort_.CreateTensorWithDataAsOrtValue(memory, address, bytes, shape.data(),
                                                  shape.size(), type, &value));
  return value;
}

void Graph::bind_region(const std::string& name, const Arena& arena, int64_t layer,
                        const std::vector<int64_t>& shape, ONNXTensorElementDataType type) {
  const OrtMemoryInfo* memory = device_memory_ != nullptr ? device_memory_ : memory_;
  arena_names_.push_back(name + "." + std::to_string(layer));
  arenas_.push_back(tensor(memory, arena.region(layer), arena.region_bytes(), shape, type));
}

void Graph::bind(const Arena& arena, int64_t pages, int64_t page_bytes, bool kv_half) {
  kv_half_[0] = kv_half ? 1 : 0;
  for (int64_t i = 0; i < layers_; ++i) {
    bind_region("kv", arena, i, {pages, page_bytes}, kOrtUint8);
  }
}

void Graph::bind_slots(const Arena& conv, const Arena& delta, int64_t slots, int64_t conv_floats,
                       int64_t delta_floats) {
  for (int64_t i = 0; i < delta_layers_; ++i) {
    bind_region("conv", conv, i, {slots, conv_floats}, kOrtFloat);
    bind_region("delta", delta, i, {slots, delta_floats}, kOrtFloat);
  }
}

}  // namespace stepguard
