#include "../attention_node.h"
#include "../reads.h"
#include "device.h"

namespace stepguard {
namespace {

class Attention {
 public:
  static constexpr const char* name = "Attention";
  static constexpr size_t outputs = 1;
  static const std::vector<Port>& inputs() {
    static const std::vector<Port> ports = {
        {kOrtFloat},       {kOrtInt32, false, true}, {kOrtInt32, false, true},
        {kOrtUint8},       {kOrtInt32, false, true}, {kOrtFloat},
        {kOrtFloat, true}, {kOrtFloat, true},        {kOrtInt32, true, true}};
    return ports;
  }
  Attention(OpContext&, const NodeInfo& node) : node_(node) {}

  void compute(Call& call) const {
    OpContext& context = call.context();
    const Tensor qkv = call.input(0, "qkv", {-1, node_.row_width()});
    const int64_t rows = qkv.shape[0];
    const bool half_pages = *call.input(4, "kv_half", {1}).as<int32_t>() != 0;
    const AttentionShape shape = node_.shape(call, half_pages);
    const Tensor arena = call.input(3, "kv", {-1, shape.page_bytes()});
    const SegmentTable segments = read_segments(call, 1, 2, rows, arena.shape[0]);
    const auto* inv_freq = call.input(5, "inv_freq", {node_.half()}).as<float>();
    const bool some = call.input(8).present();
    const Tensor reads = some ? call.input(8, "reads", {-1}) : Tensor();
    if (some) check_rows(reads, "reads", rows);
    const int64_t wanted = some ? reads.shape[0] : rows;
    auto* out = static_cast<float*>(call.output(0, {wanted, node_.out_width()}));
    if (rows == 0) return;
    const TableRequest request{segments,
                               call.input(2).shape[0],
                               rows,
                               shape.heads / shape.kv_heads,
                               some ? reads.as<int32_t>() : nullptr,
                               some ? wanted : 0,
                               inv_freq,
                               node_.half()};
    const AttentionTables& tables = context.device->tables(call.stream(), context.forward, request);
    attend(call, shape, qkv.as<float>(), rows, wanted, segments, arena.data, tables, out);
  }

 private:
  void attend(const Call& call, const AttentionShape& shape, const float* qkv, int64_t rows,
              int64_t wanted, const SegmentTable& segments, void* arena,
              const AttentionTables& tables, float* out) const {
    Device& device = *call.context().device;
    const cuda::Table& kernels = device.kernels();
    cuda::PrepareCall prepare;
    prepare.shape = shape;
    prepare.qkv = qkv;
    prepare.rows = rows;
    prepare.stride = node_.row_width();
    prepare.cos = tables.cos;
    prepare.sin = tables.sin;
    prepare.slots = tables.slots;
    prepare.arena = arena;
    prepare.head_end = shape.kv_heads;
    prepare.q_out = device.scratch<float>(Scratch::kQueries, rows * node_.out_width());
    Device::must(kernels.attention_prepare(call.stream(), prepare));
    copy_pages(call, shape, segments, arena);
    cuda::AttendCall attend;
    attend.shape = shape;
    attend.q = prepare.q_out;
    attend.tiles = tables.tiles;
    attend.tile_count = tables.tile_count;
    attend.pages = tables.pages;
    attend.arena = arena;
    attend.head_end = shape.kv_heads;
    attend.out = out;
    Device::must(kernels.attention(call.stream(), attend));
    if (!node_.gated()) return;
    cuda::GateCall gate;
    gate.gate = qkv + node_.gate_column();
    gate.gate_stride = node_.row_width();
    gate.rows = tables.reads;
    gate.count = wanted;
    gate.width = gate.stride = node_.out_width();
    gate.x = out;
    Device::must(kernels.sigmoid_gate(call.stream(), gate));
  }

  // In the order of the segments: a page that is copied may itself have inherited its slots.
  static void copy_pages(const Call& call, const AttentionShape& shape,
                         const SegmentTable& segments, void* arena) {
    auto* bytes = static_cast<uint8_t*>(arena);
    for (int64_t s = 0; s < segments.count; ++s) {
      const SegmentRow& segment = segments.segments[s];
      if (segment.copy_source < 0) continue;
      Device::must(call.context().device->kernels().copy_page(
          call.stream(), shape, bytes + segment.copy_source * shape.page_bytes(),
          bytes + segment.copy_target * shape.page_bytes(), segment.copy_tokens));
    }
  }

  AttentionNode node_;
};

}  // namespace

BoundOp bind_device_attention(OpContext& context) { return OpKernel<Attention>::bind(context); }

}  // namespace stepguard
