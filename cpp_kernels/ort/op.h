// The small frame that turns a C++ class into an ONNX Runtime custom op.
//
// An op class Kernel has: static constexpr name, inputs (list of Port), outputs; a constructor from
// (OpContext&, const NodeInfo&) and `void compute(Call&)`; with outputs that are not float32 also a
// static output_type(index). Whatever it throws becomes a status with
// the node's name: no exception crosses into ONNX Runtime.
#pragma once

#include <chrono>
#include <exception>
#include <string>
#include <vector>

#include "context.h"

namespace stepguard {

// A refusal of an op: shape, type or index out of range.
class OpError : public std::exception {
 public:
  explicit OpError(std::string text) : text_(std::move(text)) {}
  const char* what() const noexcept override { return text_.c_str(); }

 private:
  std::string text_;
};

struct Port {
  ONNXTensorElementDataType type;
  bool optional = false;
  bool host = false;  // an operation on a GPU reads it on the host
};

struct Tensor {
  void* data = nullptr;
  ONNXTensorElementDataType type = kOrtAny;
  std::vector<int64_t> shape;
  bool present() const { return type != kOrtAny; }
  int64_t count() const {
    int64_t total = 1;
    for (int64_t d : shape) total *= d;
    return total;
  }
  template <typename T>
  const T* as() const {
    return static_cast<const T*>(data);
  }
};

// Throws OpError with the status' text when it is not null, and releases it.
void check(const OrtFunctions& ort, OrtStatus* status);

class NodeInfo {
 public:
  NodeInfo(const OrtFunctions& ort, const OrtKernelInfo* info) : ort_(ort), info_(info) {}
  std::string name() const;
  int64_t integer(const char* attribute) const;
  float real(const char* attribute) const;
  std::string text(const char* attribute) const;

 private:
  const OrtFunctions& ort_;
  const OrtKernelInfo* info_;
};

class Call {
 public:
  Call(OpContext& context, OrtKernelContext* kernel) : context_(context), kernel_(kernel) {}
  Tensor input(size_t index) const;
  // Checks rank and sizes; a negative expected size takes any.
  Tensor input(size_t index, const char* name, std::vector<int64_t> shape) const;
  void* output(size_t index, const std::vector<int64_t>& shape) const;
  void* stream() const;  // of the GPU; null on a CPU
  OpContext& context() const { return context_; }

 private:
  OpContext& context_;
  OrtKernelContext* kernel_;
};

// Refuses with "name: expected ..., got ...".
void require(bool condition, const char* name, const std::string& expected, int64_t got);

// The OrtCustomOp object of one op class, bound to one engine.
struct BoundOp : OrtCustomOp {
  OpContext* context = nullptr;
  const char* provider = nullptr;  // null: the CPU's
};

OrtStatus* op_failure(OpContext& context, const std::string& node, const char* text) noexcept;

// The overload with `int` is the better match where the class has the function.
template <typename Kernel>
auto output_type(size_t index, int) -> decltype(Kernel::output_type(index)) {
  return Kernel::output_type(index);
}
template <typename Kernel>
ONNXTensorElementDataType output_type(size_t, long) {
  return kOrtFloat;
}

template <typename Kernel>
class OpKernel {
 public:
  static BoundOp bind(OpContext& context) {
    BoundOp op{};
    op.context = &context;
    op.version = kOrtApiVersion;
    op.GetName = [](const OrtCustomOp*) { return Kernel::name; };
    op.GetExecutionProviderType = [](const OrtCustomOp* self) {
      return static_cast<const BoundOp*>(self)->provider;
    };
    op.GetInputType = [](const OrtCustomOp*, size_t i) { return Kernel::inputs()[i].type; };
    op.GetInputTypeCount = [](const OrtCustomOp*) { return Kernel::inputs().size(); };
    op.GetOutputType = [](const OrtCustomOp*, size_t i) { return output_type<Kernel>(i, 0); };
    op.GetOutputTypeCount = [](const OrtCustomOp*) { return Kernel::outputs; };
    op.GetInputCharacteristic = [](const OrtCustomOp*, size_t i) {
      return Kernel::inputs()[i].optional ? INPUT_OUTPUT_OPTIONAL : INPUT_OUTPUT_REQUIRED;
    };
    op.GetOutputCharacteristic = [](const OrtCustomOp*, size_t) { return INPUT_OUTPUT_REQUIRED; };
    op.GetInputMemoryType = [](const OrtCustomOp*, size_t i) {
      return Kernel::inputs()[i].host ? OrtMemTypeCPUInput : OrtMemTypeDefault;
    };
    op.GetStartVersion = [](const OrtCustomOp*) { return 1; };
    op.GetEndVersion = [](const OrtCustomOp*) { return 1; };
    op.CreateKernelV2 = create;
    op.KernelComputeV2 = compute;
    op.KernelDestroy = [](void* kernel) { delete static_cast<OpKernel*>(kernel); };
    return op;
  }

 private:
  OpKernel(OpContext& context, const NodeInfo& info)
      : context_(context), node_(info.name()), kernel_(context, info) {}

  static OrtStatus* create(const OrtCustomOp* op, const void*, const OrtKernelInfo* info,
                           void** kernel) noexcept {
    OpContext& context = *static_cast<const BoundOp*>(op)->context;
    std::string node = Kernel::name;
    try {
      const NodeInfo node_info(context.ort, info);
      node = node_info.name();
      *kernel = new OpKernel(context, node_info);
      return nullptr;
    } catch (const std::exception& error) {
      return op_failure(context, node, error.what());
    } catch (...) {
      return op_failure(context, node, "unknown exception");
    }
  }

  static OrtStatus* compute(void* kernel, OrtKernelContext* kernel_context) noexcept {
    auto* self = static_cast<OpKernel*>(kernel);
    try {
      Call call(self->context_, kernel_context);
      if (self->context_.cancelled.load(std::memory_order_relaxed)) throw OpError("cancelled");
      const auto begin = std::chrono::steady_clock::now();
      self->kernel_.compute(call);
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
      self->context_.spend(Kernel::name, took.count());
      return nullptr;
    } catch (const std::exception& error) {
      return op_failure(self->context_, self->node_, error.what());
    } catch (...) {
      return op_failure(self->context_, self->node_, "unknown exception");
    }
  }

  OpContext& context_;
  std::string node_;
  Kernel kernel_;
};

}  // namespace stepguard
