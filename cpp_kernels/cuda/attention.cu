// Causal attention over blocks of 32 keys with an online softmax. Per query the order is fixed:
// scores over d in four parts, the block's maximum, probabilities, their sum and the values key by
// key. A block of threads has a tile of queries of one kv head, which look at a page together.
#include "device.h"

namespace stepguard::cuda {
namespace {

constexpr int kParts = 4;  // of a score; the elements of a part are kParts apart
constexpr int kThreads = kPage * kParts;
constexpr int kDims = kMaxHeadDim / kThreads;            // dimensions of a thread, kThreads apart
constexpr int kPairs = kTileQueries * kPage / kThreads;  // of query and key, of a thread

struct ValueSums {
  float of[kTileQueries][kDims];
};

// What the threads of a block share.
struct Softmax {
  float p[kTileQueries][kPage];  // scores, then probabilities
  float top[kTileQueries], total[kTileQueries];
  float factor[kTileQueries];  // what the sums so far are multiplied with
};

// The first `visible` keys of a block of keys are seen by a query.
SG_DEVICE int64_t visible(int64_t position, int64_t first) { return position - first + 1; }

// The new maximum of one query, before its probabilities.
SG_DEVICE void raise_top(Softmax& softmax, int n, int64_t count) {
  float top = softmax.top[n];
  for (int key = 0; key < kPage && key < count; ++key) top = fmaxf(top, softmax.p[n][key]);
  // A query that sees no key of this block stays as it is.
  softmax.factor[n] = count > 0 ? expf(softmax.top[n] - top) : 1.0F;
  softmax.top[n] = top;
}

SG_DEVICE void add_total(Softmax& softmax, int n, int64_t count) {
  float sum = 0.0F;
  for (int key = 0; key < kPage && key < count; ++key) sum += softmax.p[n][key];
  softmax.total[n] = fmaf(softmax.total[n], softmax.factor[n], sum);
}

SG_KERNEL attend(AttendCall call) {
  SG_SHARED float q[kTileQueries][kMaxHeadDim];
  SG_SHARED float parts[kParts][kTileQueries][kPage];
  SG_SHARED Softmax softmax;
  PerThread<ValueSums> sums;
  const AttentionShape& shape = call.shape;
  const int64_t kv_heads = call.head_end - call.head_begin;
  const QueryTile tile = call.tiles[block_index() / kv_heads];
  const int64_t kv_head = call.head_begin + block_index() % kv_heads;
  const int64_t dim = shape.head_dim, group = shape.heads / shape.kv_heads;
  const bool half = shape.kv_half;
  // Query n of the tile: its row in the segment, and where its head begins in a row.
  const auto row_of = [&](int n) { return (tile.first + n) / group; };
  const auto column_of = [&](int n) { return (kv_head * group + (tile.first + n) % group) * dim; };
  const auto position_of = [&](int n) { return tile.position + row_of(n); };
  SG_THREADS(t) {
    for (int n = 0; n < kTileQueries; ++n) {
      for (int64_t d = t; d < dim; d += kThreads) {
        const int64_t at = (tile.row + row_of(n)) * shape.heads * dim + column_of(n) + d;
        q[n][d] = n < tile.count ? call.q[at] : 0.0F;
      }
      SG_UNROLL
      for (int i = 0; i < kDims; ++i) sums[t].of[n][i] = 0.0F;
    }
    if (t < kTileQueries) softmax.top[t] = -INFINITY;
    if (t < kTileQueries) softmax.total[t] = 0.0F;
  }
  const int64_t last = position_of(tile.count - 1);
  for (int64_t first = 0; first <= last; first += kPage) {
    const int64_t page = call.pages[tile.page_start + first / kPage];
    const auto* keys = static_cast<const uint8_t*>(call.arena) + page_offset(shape, page, kv_head);
    const uint8_t* values = keys + plane_bytes(shape);
    SG_THREADS(t) {
      const int key = t % kPage, part = t / kPage;
      float scores[kTileQueries] = {};
      for (int64_t d = part; d < dim; d += kParts) {
        const float value = load_plane(keys, half, d * kPage + key);
        SG_UNROLL
        for (int n = 0; n < kTileQueries; ++n) scores[n] = fmaf(q[n][d], value, scores[n]);
      }
      SG_UNROLL
      for (int n = 0; n < kTileQueries; ++n) parts[part][n][key] = scores[n];
    }
    SG_THREADS(t) {
      for (int i = 0; i < kPairs; ++i) {
        const int n = t / kPage + i * kParts, key = t % kPage;
        const float score =
            parts[0][n][key] + parts[1][n][key] + parts[2][n][key] + parts[3][n][key];
        softmax.p[n][key] = score * shape.scale;
      }
    }
    SG_THREADS(t) {
      if (t < tile.count) raise_top(softmax, t, visible(position_of(t), first));
    }
    SG_THREADS(t) {
      for (int i = 0; i < kPairs; ++i) {
        const int n = t / kPage + i * kParts, key = t % kPage;
        const bool seen = n < tile.count && key < visible(position_of(n), first);
        softmax.p[n][key] = seen ? expf(softmax.p[n][key] - softmax.top[n]) : 0.0F;
      }
    }
    SG_THREADS(t) {
      if (t < tile.count) add_total(softmax, t, visible(position_of(t), first));
      SG_UNROLL
      for (int i = 0; i < kDims; ++i) {
        const int64_t d = t + i * kThreads;
        if (d >= dim) continue;
        SG_UNROLL
        for (int n = 0; n < kTileQueries; ++n) {
          if (n < tile.count) sums[t].of[n][i] *= softmax.factor[n];
        }
        const int64_t most = visible(last, first);
        for (int key = 0; key < kPage && key < most; ++key) {
          const float value = load_plane(values, half, key * dim + d);
          // A slot that a query does not see may hold anything, and 0 * NaN is NaN.
          SG_UNROLL
          for (int n = 0; n < kTileQueries; ++n) {
            if (n < tile.count && key < visible(position_of(n), first)) {
              sums[t].of[n][i] = fmaf(softmax.p[n][key], value, sums[t].of[n][i]);
            }
          }
        }
      }
    }
  }
  SG_THREADS(t) {
    SG_UNROLL
    for (int i = 0; i < kDims; ++i) {
      const int64_t d = t + i * kThreads;
      if (d >= dim) continue;
      SG_UNROLL
      for (int n = 0; n < kTileQueries; ++n) {
        if (n >= tile.count) continue;
        const int64_t at = (tile.out + row_of(n)) * shape.heads * dim + column_of(n) + d;
        call.out[at] = sums[t].of[n][i] / softmax.total[n];
      }
    }
  }
}

constexpr int kGateThreads = 128;

// One block a row.
SG_KERNEL gate_rows(GateCall call) {
  const int64_t row = block_index();
  const int64_t from = call.rows != nullptr ? call.rows[row] : row;
  SG_THREADS(t) {
    for (int64_t i = t; i < call.width; i += kGateThreads) {
      call.x[row * call.stride + i] *= sigmoid(call.gate[from * call.gate_stride + i]);
    }
  }
}

}  // namespace

Problem attention(Stream stream, const AttendCall& call) {
  const int64_t blocks = call.tile_count * (call.head_end - call.head_begin);
  return launch(attend, blocks, kThreads, stream, call);
}

Problem sigmoid_gate(Stream stream, const GateCall& call) {
  return launch(gate_rows, call.count, kGateThreads, stream, call);
}

}  // namespace stepguard::cuda
