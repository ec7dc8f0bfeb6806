#include <vector>

#include "register.h"
#include "segments.h"

namespace stepguard {
namespace {

// Rows that share one pass over the keys: enough to use a loaded block, few enough to split.
constexpr int64_t kTile = 16;

struct Tile {
  int64_t segment, begin, rows;
};

// qkv [T, (heads + 2 kv_heads) * head_dim] -> [T, heads * head_dim]; writes the layer's pages. With
// an output gate, heads * head_dim columns of gate follow in the rows of qkv.
class Attention {
 public:
  static constexpr const char* name = "Attention";
  static constexpr size_t outputs = 1;
  static const std::vector<Port>& inputs() {
    static const std::vector<Port> ports = {{kOrtFloat},       {kOrtInt32},      {kOrtInt32},
                                            {kOrtUint8},       {kOrtInt32},      {kOrtFloat},
                                            {kOrtFloat, true}, {kOrtFloat, true}};
    return ports;
  }

  Attention(OpContext&, const NodeInfo& node) {
    shape_.heads = node.integer("heads");
    shape_.kv_heads = node.integer("kv_heads");
    shape_.head_dim = node.integer("head_dim");
    shape_.rotary_dim = node.integer("rotary_dim");
    shape_.scale = node.real("scale");
    shape_.epsilon = node.real("epsilon");
    shape_.norm_offset = node.real("norm_offset");
    require(shape_.kv_heads > 0 && shape_.heads > 0 && shape_.heads % shape_.kv_heads == 0, "heads",
            "a multiple of kv_heads", shape_.heads);
    // Products of the sizes below must stay far from the end of int64.
    require(shape_.heads <= 65536, "heads", "at most 65536", shape_.heads);
    require(shape_.head_dim > 0 && shape_.head_dim <= kMaxHeadDim, "head_dim", "1 to 256",
            shape_.head_dim);
    require(shape_.rotary_dim >= 0 && shape_.rotary_dim <= shape_.head_dim &&
                shape_.rotary_dim % 2 == 0,
            "rotary_dim", "an even size up to head_dim", shape_.rotary_dim);
    const int64_t gate = node.integer("gate");
    require(gate == 0 || gate == 1, "gate", "0 or 1", gate);
    gated_ = gate == 1;
  }

  void compute(Call& call) const {
    OpContext& context = call.context();
    AttentionShape shape = shape_;
    const int64_t dim = shape.head_dim;
    const Tensor qkv = call.input(0, "qkv", {-1, row_width()});
    const int64_t rows = qkv.shape[0];
    shape.kv_half = *call.input(4, "kv_half", {1}).as<int32_t>() != 0;
    if (call.input(6).present()) shape.q_norm = call.input(6, "q_norm", {dim}).as<float>();
    if (call.input(7).present()) shape.k_norm = call.input(7, "k_norm", {dim}).as<float>();
    const Tensor arena = call.input(3, "kv", {-1, shape.page_bytes()});
    const SegmentTable table = read_segments(call, 1, 2, rows, arena.shape[0]);
    const int64_t half = shape.rotary_dim / 2;
    const auto* inv_freq = call.input(5, "inv_freq", {half}).as<float>();
    auto* out = static_cast<float*>(call.output(0, {rows, shape.heads * dim}));
    if (rows == 0) return;

    const Rotary& rotary = context.rotary(
        inv_freq, half, reinterpret_cast<const int32_t*>(table.segments), table.count, rows);
    auto* q = static_cast<float*>(
        context.scratch(0, static_cast<size_t>(rows * shape.heads * dim) * sizeof(float)));
    append(context, shape, qkv.as<float>(), rotary, table, rows, static_cast<uint8_t*>(arena.data),
           q);
    copy(context, shape, table, static_cast<uint8_t*>(arena.data));
    attend(context, shape, table, arena.data, q, qkv.as<float>(), out);
  }

 private:
  // Columns before the gate, and of a whole row of qkv.
  int64_t gate_column() const { return (shape_.heads + 2 * shape_.kv_heads) * shape_.head_dim; }
  int64_t row_width() const {
    return gate_column() + (gated_ ? shape_.heads * shape_.head_dim : 0);
  }

  // New keys and values go to their slots: positions that no other segment of the batch writes.
  void append(OpContext& context, const AttentionShape& shape, const float* qkv,
              const Rotary& rotary, const SegmentTable& table, int64_t rows, uint8_t* arena,
              float* q) const {
    std::vector<std::pair<int32_t, int32_t>> slots(static_cast<size_t>(rows));  // page, slot
    for (int64_t s = 0; s < table.count; ++s) {
      const SegmentRow& segment = table.segments[s];
      for (int32_t i = 0; i < segment.rows; ++i) {
        const int32_t position = segment.position + i;
        slots[static_cast<size_t>(segment.first_row + i)] = {
            table.pages[segment.page_start + position / kPage], position % kPage};
      }
    }
    const int64_t half = shape.rotary_dim / 2, bytes = shape.page_bytes();
    const int64_t width = row_width();
    context.parallel->for_range(rows, 8, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const auto [page, slot] = slots[static_cast<size_t>(r)];
        context.table->attention_prepare(
            shape, qkv + r * width, rotary.cos.data() + r * half, rotary.sin.data() + r * half, 0,
            shape.kv_heads, q + r * shape.heads * shape.head_dim, arena + page * bytes, slot);
      }
    });
  }

  // In the order of the segments: a page that is copied may itself have inherited its slots.
  static void copy(OpContext& context, const AttentionShape& shape, const SegmentTable& table,
                   uint8_t* arena) {
    for (int64_t s = 0; s < table.count; ++s) {
      const SegmentRow& segment = table.segments[s];
      if (segment.copy_source < 0) continue;
      context.table->copy_page(shape, arena + segment.copy_source * shape.page_bytes(),
                               arena + segment.copy_target * shape.page_bytes(),
                               segment.copy_tokens);
    }
  }

  void attend(OpContext& context, const AttentionShape& shape, const SegmentTable& table,
              const void* arena, const float* q, const float* qkv, float* out) const {
    std::vector<Tile> tiles;
    for (int64_t s = 0; s < table.count; ++s) {
      const int64_t rows = table.segments[s].rows;
      for (int64_t begin = 0; begin < rows; begin += kTile) {
        tiles.push_back({s, begin, std::min(kTile, rows - begin)});
      }
    }
    const int64_t stride = shape.heads * shape.head_dim;
    const auto work = static_cast<int64_t>(tiles.size()) * shape.kv_heads;
    context.parallel->for_range(work, 1, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        if (context.cancelled.load(std::memory_order_relaxed)) return;
        const Tile& tile = tiles[static_cast<size_t>(item / shape.kv_heads)];
        const SegmentRow& segment = table.segments[tile.segment];
        const int64_t row = segment.first_row + tile.begin;
        const int64_t kv_head = item % shape.kv_heads;
        context.table->attention(shape, q + row * stride, segment.position + tile.begin, tile.rows,
                                 table.pages + segment.page_start, arena, kv_head,
                                 out + row * stride);
        if (!gated_) continue;
        const int64_t width = stride / shape.kv_heads;  // columns of one kv head's queries
        context.table->sigmoid_gate(qkv + row * row_width() + gate_column() + kv_head * width,
                                    row_width(), tile.rows, width,
                                    out + row * stride + kv_head * width, stride);
      }
    });
    if (context.cancelled.load(std::memory_order_relaxed)) throw OpError("cancelled");
  }

  AttentionShape shape_;
  bool gated_ = false;
};

}  // namespace

BoundOp bind_attention(OpContext& context) { return OpKernel<Attention>::bind(context); }

}  // namespace stepguard
