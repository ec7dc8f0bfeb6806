// The inputs and outputs of a graph, compared with those of the format.
#include <map>

#include "graph.h"
#include "ort_owned.h"

namespace stepguard {
namespace {

std::string describe_type(int type, size_t rank) {
  static const std::map<int, std::string> names = {
      {kOrtFloat, "float32"}, {kOrtUint8, "uint8"}, {kOrtInt32, "int32"}, {kOrtFloat16, "float16"}};
  const auto found = names.find(type);
  const std::string name = found != names.end() ? found->second : "type " + std::to_string(type);
  return name + " of rank " + std::to_string(rank);
}

}  // namespace

std::string Graph::describe(size_t index, bool input) const {
  OrtTypeInfo* type = nullptr;
  check(ort_, input ? ort_.SessionGetInputTypeInfo(session_, index, &type)
                    : ort_.SessionGetOutputTypeInfo(session_, index, &type));
  const Owned<OrtTypeInfo> release(type, ort_.ReleaseTypeInfo);
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

}  // namespace stepguard
