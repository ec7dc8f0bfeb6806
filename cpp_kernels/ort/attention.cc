#include <algorithm>
#include <vector>

#include "attention_node.h"
#include "reads.h"
#include "register.h"
#include "segments.h"

namespace stepguard {
namespace {

// Queries that share one pass over the keys: as many as a kernel takes at once, but not so many
// that a thread has nothing to do. Below the least a pass costs as much as one of these.
constexpr int64_t kMostQueries = 96, kLeastQueries = 12, kTilesPerThread = 2;

// `begin` is in the segment, `out` the row of the first one in the output.
struct Tile {
  int64_t segment, begin, rows, out;
};

int64_t ceiling(int64_t value, int64_t divisor) { return (value + divisor - 1) / divisor; }

// The rows of all segments in tiles, those of a segment of even sizes.
std::vector<Tile> cut_tiles(const SegmentTable& table, const AttentionShape& shape, int64_t rows,
                            int64_t threads) {
  const int64_t group = shape.heads / shape.kv_heads;
  const int64_t share = ceiling(rows * shape.kv_heads, kTilesPerThread * threads);
  const int64_t least = ceiling(kLeastQueries, group);
  const int64_t most = std::clamp(share, least, std::max(kMostQueries / group, least));
  std::vector<Tile> tiles;
  for (int64_t s = 0; s < table.count; ++s) {
    const int64_t size = table.segments[s].rows;
    for (int64_t begin = 0, left = ceiling(size, most); left > 0; --left) {
      const int64_t count = ceiling(size - begin, left);
      tiles.push_back({s, begin, count, table.segments[s].first_row + begin});
      begin += count;
    }
  }
  return tiles;
}

// A tile for each of the rows that are read.
std::vector<Tile> read_tiles(const SegmentTable& table, const Tensor& reads, int64_t rows) {
  check_rows(reads, "reads", rows);
  std::vector<Tile> tiles;
  for (int64_t m = 0; m < reads.shape[0]; ++m) {
    const int32_t row = reads.as<int32_t>()[m];
    const int64_t segment = segment_of(table, row);
    tiles.push_back({segment, row - table.segments[segment].first_row, 1, m});
  }
  return tiles;
}

class Attention {
 public:
  static constexpr const char* name = "Attention";
  static constexpr size_t outputs = 1;
  static const std::vector<Port>& inputs() {
    static const std::vector<Port> ports = {
        {kOrtFloat}, {kOrtInt32},       {kOrtInt32},       {kOrtUint8},      {kOrtInt32},
        {kOrtFloat}, {kOrtFloat, true}, {kOrtFloat, true}, {kOrtInt32, true}};
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
    const SegmentTable table = read_segments(call, 1, 2, rows, arena.shape[0]);
    const int64_t half = node_.half();
    const auto* inv_freq = call.input(5, "inv_freq", {half}).as<float>();
    const bool some = call.input(8).present();
    const std::vector<Tile> tiles =
        some ? read_tiles(table, call.input(8, "reads", {-1}), rows)
             : cut_tiles(table, shape, rows, context.parallel->threads());
    const int64_t wanted = some ? static_cast<int64_t>(tiles.size()) : rows;
    auto* out = static_cast<float*>(call.output(0, {wanted, node_.out_width()}));
    if (rows == 0) return;

    const Rotary& rotary = context.rotary(
        inv_freq, half, reinterpret_cast<const int32_t*>(table.segments), table.count, rows);
    auto* q = static_cast<float*>(
        context.scratch(0, static_cast<size_t>(rows * node_.out_width()) * sizeof(float)));
    append(context, shape, qkv.as<float>(), rotary, table, rows, static_cast<uint8_t*>(arena.data),
           q);
    copy(context, shape, table, static_cast<uint8_t*>(arena.data));
    attend(context, shape, table, tiles, arena.data, q, qkv.as<float>(), out);
  }

 private:
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
    const int64_t width = node_.row_width();
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
              const std::vector<Tile>& tiles, const void* arena, const float* q, const float* qkv,
              float* out) const {
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
                                 out + tile.out * stride);
        if (!node_.gated()) continue;
        const int64_t width = stride / shape.kv_heads;  // columns of one kv head's queries
        context.table->sigmoid_gate(
            qkv + row * node_.row_width() + node_.gate_column() + kv_head * width,
            node_.row_width(), tile.rows, width, out + tile.out * stride + kv_head * width, stride);
      }
    });
    if (context.cancelled.load(std::memory_order_relaxed)) throw OpError("cancelled");
  }

  AttentionNode node_;
};

}  // namespace

BoundOp bind_attention(OpContext& context) { return OpKernel<Attention>::bind(context); }

}  // namespace stepguard
