#include "graph.h"

#include <algorithm>
#include <map>

#include "error.h"
#include "ort/cuda/device.h"

namespace stepguard {
namespace {

// Releases what ONNX Runtime handed out when the scope ends.
template <typename Handle, typename Release>
class Owned {
 public:
  Owned(Handle* handle, Release release) : handle_(handle), release_(release) {}
  ~Owned() {
    if (handle_ != nullptr) release_(handle_);
  }
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;

 private:
  Handle* handle_;
  Release release_;
};

std::string describe_type(int type, size_t rank) {
  static const std::map<int, std::string> names = {
      {kOrtFloat, "float32"}, {kOrtUint8, "uint8"}, {kOrtInt32, "int32"}, {kOrtFloat16, "float16"}};
  const auto found = names.find(type);
  const std::string name = found != names.end() ? found->second : "type " + std::to_string(type);
  return name + " of rank " + std::to_string(rank);
}

}  // namespace

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
    const Owned release_options(options, ort_.ReleaseSessionOptions);
    check(ort_, ort_.SetIntraOpNumThreads(options, 1));
    check(ort_, ort_.SetInterOpNumThreads(options, 1));
    check(ort_, ort_.SetSessionExecutionMode(options, ORT_SEQUENTIAL));
    check(ort_, ort_.SetSessionGraphOptimizationLevel(options, ORT_ENABLE_BASIC));
    check(ort_, ort_.AddSessionConfigEntry(options, "session.intra_op.allow_spinning", "0"));
    check(ort_, ort_.CreateCustomOpDomain("stepguard", &domain));
    const Owned release_domain(domain, ort_.ReleaseCustomOpDomain);
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
    const Owned release(cuda, ort_.ReleaseCUDAProviderOptions);
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

std::string Graph::describe(size_t index, bool input) const {
  OrtTypeInfo* type = nullptr;
  check(ort_, input ? ort_.SessionGetInputTypeInfo(session_, index, &type)
                    : ort_.SessionGetOutputTypeInfo(session_, index, &type));
  const Owned release(type, ort_.ReleaseTypeInfo);
  const OrtTensorTypeAndShapeInfo* info = nullptr;
  check(ort_, ort_.CastTypeInfoToTensorInfo(type, &info));
  if (info == nullptr) return "no tensor";
  ONNXTensorElementDataType element = kOrtAny;
  size_t rank = 0;
  check(ort_, ort_.GetTensorElementType(info, &element));
  check(ort_, ort_.GetDimensionsCount(info, &rank));
  return describe_type(element, rank);
}

void Graph::check_ports() {
  const std::string vector = describe_type(kOrtInt32, 1);
  const Ports found = ports(true);
  writes_ = found.count("nexts") > 0;
  Ports inputs = {{"ids", vector},          {"segments", describe_type(kOrtInt32, 2)},
                  {"pages", vector},        {"reads", vector},
                  {"read_offsets", vector}, {"read_ids", vector},
                  {"kv_half", vector}};
  for (int64_t i = 0; i < layers_; ++i) {
    inputs["kv." + std::to_string(i)] = describe_type(kOrtUint8, 2);
  }
  for (int64_t i = 0; i < delta_layers_; ++i) {
    inputs["slots"] = describe_type(kOrtInt32, 2);
    inputs["conv." + std::to_string(i)] = describe_type(kOrtFloat, 2);
    inputs["delta." + std::to_string(i)] = describe_type(kOrtFloat, 2);
  }
  Ports outputs = {{"logits", describe_type(kOrtFloat, 1)},
                   {"hidden", describe_type(kOrtFloat, 2)}};
  if (writes_) {
    inputs["nexts"] = vector;
    outputs["next_ids"] = vector;
    outputs["next_scores"] = describe_type(kOrtFloat, 1);
  }
  std::string problems;
  const auto compare = [&](const std::string& side, const Ports& expected, const Ports& found) {
    for (const auto& [name, type] : expected) {
      const auto at = found.find(name);
      if (at == found.end()) {
        problems += "; " + side + name + " is missing";
      } else if (at->second != type) {
        problems += "; " + side + name + ": expected " + type + ", got " + at->second;
      }
    }
    for (const auto& [name, type] : found) {
      if (expected.count(name) == 0) problems += "; " + side + name + " is unknown";
    }
  };
  compare("input ", inputs, found);
  compare("output ", outputs, ports(false));
  if (!problems.empty()) throw OpError(problems.substr(2));
}

Graph::Ports Graph::ports(bool input) const {
  OrtAllocator* allocator = nullptr;
  check(ort_, ort_.GetAllocatorWithDefaultOptions(&allocator));
  size_t count = 0;
  check(ort_, input ? ort_.SessionGetInputCount(session_, &count)
                    : ort_.SessionGetOutputCount(session_, &count));
  Ports found;
  for (size_t i = 0; i < count; ++i) {
    char* name = nullptr;
    check(ort_, input ? ort_.SessionGetInputName(session_, i, allocator, &name)
                      : ort_.SessionGetOutputName(session_, i, allocator, &name));
    found[name] = describe(i, input);
    check(ort_, ort_.AllocatorFree(allocator, name));
  }
  return found;
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

std::vector<int64_t> Graph::shape_of(const OrtValue* value) const {
  OrtTensorTypeAndShapeInfo* info = nullptr;
  check(ort_, ort_.GetTensorTypeAndShape(value, &info));
  const Owned release(info, ort_.ReleaseTensorTypeAndShapeInfo);
  size_t rank = 0;
  check(ort_, ort_.GetDimensionsCount(info, &rank));
  std::vector<int64_t> shape(rank);
  check(ort_, ort_.GetDimensions(info, shape.data(), rank));
  return shape;
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

void Graph::run_session(const std::vector<const char*>& names,
                        const std::vector<const OrtValue*>& values,
                        const std::vector<const char*>& output_names,
                        std::vector<OrtValue*>& outputs) {
  try {
    check(ort_,
          ort_.Run(session_, short_of_memory_ ? shrinking_ : nullptr, names.data(), values.data(),
                   values.size(), output_names.data(), output_names.size(), outputs.data()));
    short_of_memory_ = false;
  } catch (const OpError& error) {
    short_of_memory_ = Device::is_out_of_memory(error.what());
    throw;
  }
}

ForwardOutput Graph::run(const Forward& forward) {
  std::vector<const char*> names;
  std::vector<const OrtValue*> values;
  std::vector<OrtValue*> own;
  const auto add = [&](const char* name, const auto& data, std::vector<int64_t> shape) {
    own.push_back(tensor(memory_, data.data(), data.size() * sizeof(data[0]), shape, kOrtInt32));
    names.push_back(name);
    values.push_back(own.back());
  };
  const auto size = [](const auto& data) { return static_cast<int64_t>(data.size()); };
  std::vector<const char*> output_names = {"logits", "hidden"};
  if (writes_) output_names.insert(output_names.end(), {"next_ids", "next_scores"});
  std::vector<OrtValue*> outputs(output_names.size(), nullptr);
  const auto release = [&] {
    for (OrtValue* value : own) ort_.ReleaseValue(value);
    for (OrtValue* output : outputs) {
      if (output != nullptr) ort_.ReleaseValue(output);
    }
  };
  ForwardOutput result;
  try {
    add("ids", forward.ids, {size(forward.ids)});
    add("segments", forward.segments, {size(forward.segments), 8});
    add("pages", forward.pages, {size(forward.pages)});
    add("reads", forward.reads, {size(forward.reads)});
    add("read_offsets", forward.read_offsets, {size(forward.read_offsets)});
    add("read_ids", forward.read_ids, {size(forward.read_ids)});
    add("kv_half", kv_half_, {1});
    if (writes_) add("nexts", forward.nexts, {size(forward.nexts)});
    if (delta_layers_ > 0) add("slots", forward.slots, {size(forward.segments), 2});
    for (size_t i = 0; i < arenas_.size(); ++i) {
      names.push_back(arena_names_[i].c_str());
      values.push_back(arenas_[i]);
    }
    ++context_.forward;
    run_session(names, values, output_names, outputs);
    if (!forward.reads.empty()) {
      // ONNX Runtime does not hold a graph to the shapes that it declares.
      const std::vector<int64_t> shape = shape_of(outputs[1]);
      if (shape.size() != 2) throw OpError("hidden: an output of another rank");
      result.width = shape[1];
      take(outputs[0], {size(forward.read_ids)}, "logits", result.logits);
      take(outputs[1], {size(forward.reads), result.width}, "hidden", result.hidden);
    }
    if (!forward.nexts.empty()) {
      take(outputs[2], {size(forward.nexts)}, "next_ids", result.next_ids);
      take(outputs[3], {size(forward.nexts)}, "next_scores", result.next_scores);
    }
  } catch (...) {
    release();
    throw;
  }
  release();
  return result;
}

template <typename T>
void Graph::take(const OrtValue* output, const std::vector<int64_t>& shape, const char* name,
                 std::vector<T>& target) const {
  if (shape_of(output) != shape) {
    throw OpError(std::string(name) + ": an output of another size than what was read");
  }
  size_t count = 1;
  for (const int64_t dim : shape) count *= static_cast<size_t>(dim);
  void* data = nullptr;
  check(ort_, ort_.GetTensorMutableData(const_cast<OrtValue*>(output), &data));
  target.assign(static_cast<const T*>(data), static_cast<const T*>(data) + count);
}

}  // namespace stepguard
