// One forward through a graph: inputs made, the session run, outputs taken.
#include "graph.h"
#include "ort/cuda/device.h"
#include "ort_owned.h"

namespace stepguard {

std::vector<int64_t> Graph::shape_of(const OrtValue* value) const {
  OrtTensorTypeAndShapeInfo* info = nullptr;
  check(ort_, ort_.GetTensorTypeAndShape(value, &info));
  const Owned<OrtTensorTypeAndShapeInfo> release(info, ort_.ReleaseTensorTypeAndShapeInfo);
  size_t rank = 0;
  check(ort_, ort_.GetDimensionsCount(info, &rank));
  std::vector<int64_t> shape(rank);
  check(ort_, ort_.GetDimensions(info, shape.data(), rank));
  return shape;
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
