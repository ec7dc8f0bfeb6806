// Causal attention over blocks of 32 keys with an online softmax. Per query the order is fixed:
// scores over d, the block's maximum, probabilities, their sum over a fixed tree, then values key
// by key. Up to 96 queries of one kv head go through a block together, in parts of it that stay in
// the first cache: 64 dimensions of K, 32 of V, each turned into float32 once.
#include "avx2/page.h"
#include "avx2/table.h"

namespace stepguard::avx2 {
namespace {

constexpr int64_t kTile = 96;               // queries that share a block
constexpr int kQueries = 3;                 // queries of a register tile
constexpr int64_t kKeyPart = 64;            // dimensions of K at a time
constexpr int64_t kValuePart = 4 * kLanes;  // and of V
constexpr float kInfinity = __builtin_inff();

// A query and its running softmax; `out` holds the sum of values not yet divided by `total`.
struct Query {
  const float* q;
  float* out;
  int64_t position;
  float top, total;
};

// The queries that see a block, with their scores, which become probabilities.
struct Tile {
  Query* queries;
  int64_t size;
  float (*p)[kPage];
  float* factor;  // what the sums so far are multiplied with
};

// The planes of one kv head of one page: K [head_dim][32] and V [32][head_dim]; and how far it is
// to those of the next block.
struct Block {
  const uint8_t* keys;
  const uint8_t* values;
  int64_t next;
  bool half;
};

// `count` elements of a plane as float32; `buffer` takes them if they are not that already. Asks
// for the same part of the next block: pages lie anywhere, which the CPU cannot guess.
const float* as_floats(const Block& block, const uint8_t* plane, int64_t at, int64_t count,
                       float* buffer) {
  if (!block.half) return reinterpret_cast<const float*>(plane) + at;
  const auto* from = reinterpret_cast<const uint16_t*>(plane) + at;
  const auto* ahead = reinterpret_cast<const char*>(from) + block.next;
  int64_t i = 0;
  for (; i + 4 * kLanes <= count; i += 4 * kLanes) {
    _mm_prefetch(ahead + 2 * i, _MM_HINT_T1);
#pragma GCC unroll 4
    for (int64_t j = i; j < i + 4 * kLanes; j += kLanes) {
      _mm256_store_ps(buffer + j, load_half(from + j));
    }
  }
  for (; i + kLanes <= count; i += kLanes) _mm256_store_ps(buffer + i, load_half(from + i));
  for (; i < count; ++i) buffer[i] = _cvtsh_ss(from[i]);
  return buffer;
}

// Adds dimensions d..d+count to the scores of N queries; keys are [count][32].
template <int N>
void add_scores(const float* keys, int64_t d, int64_t count, const Query* queries,
                float (*scores)[kPage]) {
  __m256 acc[N][4];
  const float* q[N];
#pragma GCC unroll 3
  for (int n = 0; n < N; ++n) {
    q[n] = queries[n].q + d;
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) acc[n][c] = _mm256_load_ps(scores[n] + c * kLanes);
  }
  for (int64_t i = 0; i < count; ++i) {
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
      const __m256 key = _mm256_loadu_ps(keys + i * kPage + c * kLanes);
#pragma GCC unroll 3
      for (int n = 0; n < N; ++n) {
        acc[n][c] = _mm256_fmadd_ps(_mm256_broadcast_ss(q[n] + i), key, acc[n][c]);
      }
    }
  }
#pragma GCC unroll 3
  for (int n = 0; n < N; ++n) {
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) _mm256_store_ps(scores[n] + c * kLanes, acc[n][c]);
  }
}

void score(const AttentionShape& shape, const Block& block, const Tile& tile) {
  alignas(64) float buffer[kKeyPart * kPage];
  for (int64_t i = 0; i < tile.size; ++i) {
    for (float& p : tile.p[i]) p = 0.0F;
  }
  for (int64_t d = 0; d < shape.head_dim; d += kKeyPart) {
    const int64_t count = least(kKeyPart, shape.head_dim - d);
    const float* keys = as_floats(block, block.keys, d * kPage, count * kPage, buffer);
    int64_t i = 0;
    for (; i + kQueries <= tile.size; i += kQueries) {
      add_scores<kQueries>(keys, d, count, tile.queries + i, tile.p + i);
    }
    if (tile.size - i == 2) add_scores<2>(keys, d, count, tile.queries + i, tile.p + i);
    if (tile.size - i == 1) add_scores<1>(keys, d, count, tile.queries + i, tile.p + i);
  }
}

// The new maximum and p = exp(score - maximum) of the first `count` keys; p of the others is zero.
// Returns what the sums so far are multiplied with.
float softmax_step(Query& query, float scale, int64_t count, float* p) {
  __m256 score[4];
  __m256 mask[4];
  __m256 best = _mm256_set1_ps(-kInfinity);
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    const int64_t left = count - c * kLanes;
    mask[c] = _mm256_castsi256_ps(lane_mask(left < 0 ? 0 : least(left, kLanes)));
    const __m256 scaled = _mm256_mul_ps(_mm256_load_ps(p + c * kLanes), _mm256_set1_ps(scale));
    score[c] = _mm256_blendv_ps(_mm256_set1_ps(-kInfinity), scaled, mask[c]);
    best = _mm256_max_ps(best, score[c]);
  }
  const float most = max_lanes(best);
  const float top = most > query.top ? most : query.top;
  const __m256 shift = _mm256_set1_ps(top);
  // Mostly the maximum stays; e^0 is exactly 1, so the shorter way has the same bits.
  const float factor =
      top == query.top ? 1.0F : _mm256_cvtss_f32(exp_lanes(_mm256_set1_ps(query.top - top)));
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    score[c] = _mm256_and_ps(exp_lanes(_mm256_sub_ps(score[c], shift)), mask[c]);
    _mm256_store_ps(p + c * kLanes, score[c]);
  }
  const float sum = sum_lanes(
      _mm256_add_ps(_mm256_add_ps(score[0], score[1]), _mm256_add_ps(score[2], score[3])));
  query.top = top;
  query.total = query.total * factor + sum;
  return factor;
}

// V of some keys for up to 32 dimensions from d on: key j at data + j * stride.
struct Values {
  const float* data;
  int64_t stride, d, width;
};

// out[d..] = out * factor + p . V for N queries. Keys from `count` on are never read: a slot that
// was not written may hold anything, and 0 * NaN is NaN.
template <int N>
void add_values(const Values& values, int64_t count, const Tile& tile, int64_t first) {
  __m256 acc[N][4];
#pragma GCC unroll 3
  for (int n = 0; n < N; ++n) {
    const float* out = tile.queries[first + n].out + values.d;
    const __m256 factor = _mm256_set1_ps(tile.factor[first + n]);
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
      acc[n][c] = _mm256_mul_ps(_mm256_loadu_ps(out + c * kLanes), factor);
    }
  }
  const float* p = tile.p[first];
  for (int64_t j = 0; j < count; ++j) {
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
      const __m256 value = _mm256_loadu_ps(values.data + j * values.stride + c * kLanes);
#pragma GCC unroll 3
      for (int n = 0; n < N; ++n) {
        acc[n][c] = _mm256_fmadd_ps(_mm256_broadcast_ss(p + n * kPage + j), value, acc[n][c]);
      }
    }
  }
#pragma GCC unroll 3
  for (int n = 0; n < N; ++n) {
    float* out = tile.queries[first + n].out + values.d;
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) _mm256_storeu_ps(out + c * kLanes, acc[n][c]);
  }
}

// The same for one query and fewer than 32 dimensions.
void add_values_part(const Values& values, int64_t count, const Tile& tile, int64_t i) {
  const __m256 factor = _mm256_set1_ps(tile.factor[i]);
  for (int64_t d = 0; d < values.width; d += kLanes) {
    const int64_t left = values.width - d;
    float* out = tile.queries[i].out + values.d + d;
    __m256 acc = _mm256_mul_ps(load_part(out, left), factor);
    for (int64_t j = 0; j < count; ++j) {
      const __m256 value = load_part(values.data + j * values.stride + d, left);
      acc = _mm256_fmadd_ps(_mm256_broadcast_ss(tile.p[i] + j), value, acc);
    }
    store_part(out, acc, left);
  }
}

// Keys of the block at positions first.. that a query sees.
int64_t visible(const Query& query, int64_t first) {
  return least(query.position - first + 1, kPage);
}

void add_values(const Values& values, int64_t first, const Tile& tile) {
  for (int64_t i = 0; i < tile.size;) {
    const int64_t count = visible(tile.queries[i], first);
    int64_t width = 1;
    while (width < kQueries && i + width < tile.size &&
           visible(tile.queries[i + width], first) == count) {
      ++width;
    }
    if (values.width < kValuePart) {
      for (int64_t n = 0; n < width; ++n) add_values_part(values, count, tile, i + n);
    } else {
      if (width == 3) add_values<3>(values, count, tile, i);
      if (width == 2) add_values<2>(values, count, tile, i);
      if (width == 1) add_values<1>(values, count, tile, i);
    }
    i += width;
  }
}

// All queries of the tile against the block at positions first.. .
void attend_block(const AttentionShape& shape, const Block& block, int64_t first,
                  const Tile& tile) {
  score(shape, block, tile);
  for (int64_t i = 0; i < tile.size; ++i) {
    Query& query = tile.queries[i];
    tile.factor[i] = softmax_step(query, shape.scale, visible(query, first), tile.p[i]);
  }
  alignas(64) float buffer[kPage * kValuePart];
  // The last query sees the most keys.
  const int64_t count = visible(tile.queries[tile.size - 1], first);
  for (int64_t d = 0; d < shape.head_dim; d += kValuePart) {
    const int64_t width = least(kValuePart, shape.head_dim - d);
    Values values{nullptr, shape.head_dim, d, width};
    if (block.half) {
      for (int64_t j = 0; j < count; ++j) {
        as_floats(block, block.values, j * shape.head_dim + d, width, buffer + j * kValuePart);
      }
      values.data = buffer;
      values.stride = kValuePart;
    } else {
      values.data = reinterpret_cast<const float*>(block.values) + d;
    }
    add_values(values, first, tile);
  }
}

void attend_tile(const AttentionShape& shape, const int32_t* pages, const void* arena,
                 int64_t kv_head, Query* queries, int64_t size) {
  alignas(64) float p[kTile][kPage];
  float factor[kTile];
  const int64_t dim = shape.head_dim;
  for (int64_t i = 0; i < size; ++i) {
    for (int64_t d = 0; d < dim; ++d) queries[i].out[d] = 0.0F;
  }
  int64_t begin = 0;  // queries before it have seen all of their keys
  for (int64_t first = 0; first <= queries[size - 1].position; first += kPage) {
    while (queries[begin].position < first) ++begin;
    const int32_t* page = pages + first / kPage;
    const bool last = first + kPage > queries[size - 1].position;
    const uint8_t* plane = plane_at(shape, arena, page[0], 2 * kv_head);
    const int64_t next = last ? 0 : (page[1] - page[0]) * shape.page_bytes();
    const Block block{plane, plane + plane_bytes(shape), next, shape.kv_half};
    attend_block(shape, block, first, Tile{queries + begin, size - begin, p, factor});
  }
  for (int64_t i = 0; i < size; ++i) {
    const __m256 total = _mm256_set1_ps(queries[i].total);
    for (int64_t d = 0; d < dim; d += kLanes) {
      const __m256 sum = load_part(queries[i].out + d, dim - d);
      store_part(queries[i].out + d, _mm256_div_ps(sum, total), dim - d);
    }
  }
}

}  // namespace

void attention(const AttentionShape& shape, const float* q, int64_t position, int64_t rows,
               const int32_t* pages, const void* arena, int64_t kv_head, float* out) {
  Query queries[kTile];
  const int64_t group = shape.heads / shape.kv_heads;
  int64_t size = 0;
  for (int64_t i = 0; i < rows * group; ++i) {
    const int64_t row = i / group;
    const int64_t at = (row * shape.heads + kv_head * group + i % group) * shape.head_dim;
    queries[size++] = Query{q + at, out + at, position + row, -kInfinity, 0.0F};
    if (size == kTile || i + 1 == rows * group) {
      attend_tile(shape, pages, arena, kv_head, queries, size);
      size = 0;
    }
  }
}

}  // namespace stepguard::avx2
