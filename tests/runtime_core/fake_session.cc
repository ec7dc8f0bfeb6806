#include "fake_session.h"

#include <algorithm>
#include <cmath>
#include <cstring>

struct OrtSession {
  struct Node {
    const OrtCustomOp* op = nullptr;
    void* kernel = nullptr;
  };
  std::map<std::string, Node> nodes;
  std::map<std::string, std::unique_ptr<OrtValue>> weights;
};

namespace stepguard::fake {
namespace {

constexpr int64_t kQkv = (kHeads + 2 * kKvHeads) * kHeadDim;
constexpr int64_t kRead = kDeltaDim;  // width of the rows that are read
static_assert(kHeads * kHeadDim == 4 * kDeltaDim, "Attention feeds DeltaNet");

OrtStatus* failure(const char* text) { return new OrtStatus{ORT_FAIL, text}; }

std::unique_ptr<OrtValue> wavy(std::vector<int64_t> shape, float offset, float size) {
  auto value = make_tensor(kOrtFloat, std::move(shape));
  int64_t count = 1;
  for (const int64_t dim : value->info.shape) count *= dim;
  auto* data = static_cast<float*>(value->data);
  for (int64_t i = 0; i < count; ++i) {
    data[i] = offset + size * std::sin(static_cast<float>(i * i % 97) + offset);
  }
  return value;
}

const std::vector<OrtKernelInfo>& nodes() {
  static const std::vector<OrtKernelInfo> list = {
      {"Embed", {}, {}, {}},
      {"Attention",
       {{"heads", kHeads},
        {"kv_heads", kKvHeads},
        {"head_dim", kHeadDim},
        {"rotary_dim", kHeadDim},
        {"gate", 0}},
       {{"scale", 0.5F}, {"epsilon", 1e-6F}, {"norm_offset", 0.0F}},
       {}},
      {"DeltaNet",
       {{"k_heads", 1},
        {"v_heads", 1},
        {"k_dim", kDeltaDim},
        {"v_dim", kDeltaDim},
        {"conv_width", kConvWidth}},
       {{"epsilon", 1e-6F}},
       {}},
      {"ReadOut", {}, {{"epsilon", 1e-6F}, {"offset", 0.0F}}, {}},
      {"NextToken", {}, {{"epsilon", 1e-6F}, {"offset", 0.0F}}, {}}};
  return list;
}

// The rows of `x` that are read, as ONNX's Gather takes them.
std::unique_ptr<OrtValue> gather(const OrtValue& x, const OrtValue& reads) {
  const int64_t count = reads.info.shape[0], width = x.info.shape[1];
  auto rows = make_tensor(kOrtFloat, {count, width});
  for (int64_t m = 0; m < count; ++m) {
    std::memcpy(
        static_cast<float*>(rows->data) + m * width,
        static_cast<const float*>(x.data) + static_cast<const int32_t*>(reads.data)[m] * width,
        static_cast<size_t>(width) * sizeof(float));
  }
  return rows;
}

// Runs one node; its outputs are in `context`.
OrtStatus* run(const OrtSession& session, const char* name, OrtKernelContext& context) {
  const OrtSession::Node& node = session.nodes.at(name);
  return node.op->KernelComputeV2(node.kernel, &context);
}

}  // namespace

const std::vector<PortInfo>& ports(bool inputs) {
  static const std::vector<PortInfo> in = {
      {"ids", {kOrtInt32, {-1}}},          {"segments", {kOrtInt32, {-1, 8}}},
      {"pages", {kOrtInt32, {-1}}},        {"reads", {kOrtInt32, {-1}}},
      {"read_offsets", {kOrtInt32, {-1}}}, {"read_ids", {kOrtInt32, {-1}}},
      {"kv_half", {kOrtInt32, {1}}},       {"slots", {kOrtInt32, {-1, 2}}},
      {"kv.0", {kOrtUint8, {-1, -1}}},     {"conv.0", {kOrtFloat, {-1, -1}}},
      {"delta.0", {kOrtFloat, {-1, -1}}},  {"nexts", {kOrtInt32, {-1}}}};
  static const std::vector<PortInfo> out = {{"logits", {kOrtFloat, {-1}}},
                                            {"hidden", {kOrtFloat, {-1, kRead}}},
                                            {"next_ids", {kOrtInt32, {-1}}},
                                            {"next_scores", {kOrtFloat, {-1}}}};
  return inputs ? in : out;
}

OrtStatus* open_session(const OrtSessionOptions& options, OrtSession** out) {
  auto session = std::unique_ptr<OrtSession, void (*)(OrtSession*)>(new OrtSession, close_session);
  for (const OrtKernelInfo& info : nodes()) {
    OrtSession::Node& node = session->nodes[info.name];
    const auto found = options.ops.find(info.name);
    if (found == options.ops.end()) return failure("an operation is not registered");
    node.op = found->second;
    OrtStatus* status = node.op->CreateKernelV2(node.op, nullptr, &info, &node.kernel);
    if (status != nullptr) return status;
  }
  auto& weights = session->weights;
  weights["table"] = wavy({kVocabulary, kQkv}, 0.1F, 1.0F);
  weights["inv_freq"] = wavy({kHeadDim / 2}, 0.5F, 0.4F);
  weights["conv"] = wavy({3 * kDeltaDim, kConvWidth}, 0.3F, 0.9F);
  weights["a_log"] = wavy({1}, 0.2F, 0.1F);
  weights["dt_bias"] = wavy({1}, 0.1F, 0.1F);
  weights["norm"] = wavy({kRead}, 1.0F, 0.2F);
  weights["out"] = wavy({kVocabulary, kRead}, 0.2F, 1.0F);
  weights["rows"] = wavy({2, kRead}, 0.7F, 1.0F);
  weights["row_ids"] = make_tensor(kOrtInt32, {2});
  const int32_t row_ids[2] = {3, 9};
  std::memcpy(weights["row_ids"]->data, row_ids, sizeof row_ids);
  *out = session.release();
  return nullptr;
}

OrtStatus* run_session(OrtSession& session, const std::map<std::string, const OrtValue*>& inputs,
                       OrtValue** outputs) {
  const auto in = [&](const char* name) { return inputs.at(name); };
  const auto weight = [&](const char* name) -> const OrtValue* {
    return session.weights.at(name).get();
  };
  const int64_t rows = in("ids")->info.shape[0];
  const auto* ids = static_cast<const int32_t*>(in("ids")->data);
  if (std::find(ids, ids + rows, kRefused) != ids + rows) return failure("refused on purpose");
  if (std::find(ids, ids + rows, kNoMemory) != ids + rows) {
    return failure("Available memory of 0 is smaller than requested bytes of 512");
  }

  OrtKernelContext embed{{in("ids"), weight("table")}, {}};
  if (OrtStatus* status = run(session, "Embed", embed)) return status;
  const OrtValue* x = embed.outputs[0].get();

  OrtKernelContext attention{
      {x, in("segments"), in("pages"), in("kv.0"), in("kv_half"), weight("inv_freq")}, {}};
  if (OrtStatus* status = run(session, "Attention", attention)) return status;

  const auto ba = make_tensor(kOrtFloat, {rows, 2});
  for (int64_t r = 0; r < rows; ++r) {
    std::memcpy(static_cast<float*>(ba->data) + 2 * r,
                static_cast<const float*>(x->data) + r * kQkv, 2 * sizeof(float));
  }
  OrtKernelContext delta{
      {attention.outputs[0].get(), ba.get(), in("segments"), in("slots"), in("conv.0"),
       in("delta.0"), weight("conv"), weight("a_log"), weight("dt_bias"), weight("norm")},
      {}};
  if (OrtStatus* status = run(session, "DeltaNet", delta)) return status;

  const auto picked = gather(*delta.outputs[0], *in("reads"));
  OrtKernelContext read{{picked.get(), weight("norm"), in("read_offsets"), in("read_ids"),
                         weight("row_ids"), weight("rows"), weight("out")},
                        {}};
  if (OrtStatus* status = run(session, "ReadOut", read)) return status;
  OrtKernelContext next{{picked.get(), weight("norm"), in("nexts"), weight("out")}, {}};
  if (OrtStatus* status = run(session, "NextToken", next)) return status;
  for (size_t i = 0; i < 2; ++i) {
    outputs[i] = read.outputs[i].release();
    outputs[2 + i] = next.outputs[i].release();
  }
  return nullptr;
}

void close_session(OrtSession* session) {
  if (session == nullptr) return;
  for (const auto& [name, node] : session->nodes) {
    if (node.kernel != nullptr) node.op->KernelDestroy(node.kernel);
  }
  delete session;
}

}  // namespace stepguard::fake

extern "C" __attribute__((visibility("default"))) const OrtApiBase* OrtGetApiBase() {
  static const OrtApiBase base = {
      [](uint32_t version) -> const void* const* {
        return version == stepguard::kOrtApiVersion ? stepguard::fake::functions() : nullptr;
      },
      [] { return "1.32.0"; }};
  return &base;
}
