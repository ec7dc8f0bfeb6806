// Causal attention over blocks of 32 keys with an online softmax. Per query the order is fixed:
// scores over d, the block's maximum, probabilities, their sum over a fixed tree, then values key
// by key. Up to 96 queries of one kv head go through a block together, in parts of it that stay in
// the first cache: 64 dimensions of K, 32 of V, each turned into float32 once.
#pragma once

#include <utility>

#include "vector/page.h"
#include "vector/softmax.h"

namespace stepguard::STEPGUARD_TABLE {
namespace {

constexpr int64_t kTile = 96;             // queries that share a block
constexpr int kVectors = kPage / kLanes;  // of the scores of a block, and of a part of V
constexpr int64_t kKeyPart = 64;          // dimensions of K at a time
constexpr int64_t kValuePart = kPage;     // and of V

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
  const auto* ahead = reinterpret_cast<const uint8_t*>(from) + block.next;
  int64_t i = 0;
  for (; i + kPage <= count; i += kPage) {
    prefetch_far(ahead + 2 * i);
    for (int64_t j = i; j < i + kPage; j += kLanes) store(buffer + j, load_half(from + j));
  }
  for (; i + kLanes <= count; i += kLanes) store(buffer + i, load_half(from + i));
  for (; i < count; ++i) buffer[i] = one_half(from[i]);
  return buffer;
}

// Adds dimensions d..d+count to the scores of N queries; keys are [count][32].
template <int N>
void add_scores(const float* keys, int64_t d, int64_t count, const Query* queries,
                float (*scores)[kPage]) {
  Vec acc[N][kVectors];
  const float* q[N];
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n) {
    q[n] = queries[n].q + d;
#pragma GCC unroll 8
    for (int c = 0; c < kVectors; ++c) acc[n][c] = load(scores[n] + c * kLanes);
  }
  for (int64_t i = 0; i < count; ++i, keys += kPage) {
    Vec value[N];
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) value[n] = splat(q[n][i]);
#pragma GCC unroll 8
    for (int c = 0; c < kVectors; ++c) {
      const Vec key = load(keys + c * kLanes);
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) acc[n][c] = fma(value[n], key, acc[n][c]);
    }
  }
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n) {
#pragma GCC unroll 8
    for (int c = 0; c < kVectors; ++c) store(scores[n] + c * kLanes, acc[n][c]);
  }
}

using AddScores = void (*)(const float*, int64_t, int64_t, const Query*, float (*)[kPage]);

template <int... N>
AddScores pick_scores(int64_t queries, std::integer_sequence<int, N...>) {
  static constexpr AddScores by_count[] = {add_scores<N + 1>...};
  return by_count[queries - 1];
}

void score(const AttentionShape& shape, const Block& block, const Tile& tile) {
  alignas(64) float buffer[kKeyPart * kPage];
  for (int64_t i = 0; i < tile.size; ++i) {
    for (float& p : tile.p[i]) p = 0.0F;
  }
  for (int64_t d = 0; d < shape.head_dim; d += kKeyPart) {
    const int64_t count = least(kKeyPart, shape.head_dim - d);
    const float* keys = as_floats(block, block.keys, d * kPage, count * kPage, buffer);
    for (int64_t i = 0; i < tile.size; i += kQueries) {
      const int64_t queries = least(kQueries, tile.size - i);
      pick_scores(queries, std::make_integer_sequence<int, kQueries>())(
          keys, d, count, tile.queries + i, tile.p + i);
    }
  }
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
  Vec acc[N][kVectors];
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n) {
    const float* out = tile.queries[first + n].out + values.d;
    const Vec factor = splat(tile.factor[first + n]);
#pragma GCC unroll 8
    for (int c = 0; c < kVectors; ++c) acc[n][c] = mul(load(out + c * kLanes), factor);
  }
  const float* p = tile.p[first];
  for (int64_t j = 0; j < count; ++j) {
    Vec weight[N];
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) weight[n] = splat(p[n * kPage + j]);
#pragma GCC unroll 8
    for (int c = 0; c < kVectors; ++c) {
      const Vec value = load(values.data + j * values.stride + c * kLanes);
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) acc[n][c] = fma(weight[n], value, acc[n][c]);
    }
  }
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n) {
    float* out = tile.queries[first + n].out + values.d;
#pragma GCC unroll 8
    for (int c = 0; c < kVectors; ++c) store(out + c * kLanes, acc[n][c]);
  }
}

using AddValues = void (*)(const Values&, int64_t, const Tile&, int64_t);

template <int... N>
AddValues pick_values(int64_t queries, std::integer_sequence<int, N...>) {
  static constexpr AddValues by_count[] = {add_values<N + 1>...};
  return by_count[queries - 1];
}

// The same for one query and fewer than 32 dimensions.
void add_values_part(const Values& values, int64_t count, const Tile& tile, int64_t i) {
  const Vec factor = splat(tile.factor[i]);
  for (int64_t d = 0; d < values.width; d += kLanes) {
    const int64_t left = values.width - d;
    float* out = tile.queries[i].out + values.d + d;
    Vec acc = mul(load_part(out, left), factor);
    for (int64_t j = 0; j < count; ++j) {
      acc = fma(splat(tile.p[i][j]), load_part(values.data + j * values.stride + d, left), acc);
    }
    store_part(out, acc, left);
  }
}

// Keys of the block at positions first.. that a query sees.
int64_t visible(const Query& query, int64_t first) {
  return least(query.position - first + 1, kPage);
}

void add_all_values(const Values& values, int64_t first, const Tile& tile) {
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
      pick_values(width, std::make_integer_sequence<int, kQueries>())(values, count, tile, i);
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
    tile.factor[i] = softmax_step<kPage>(query, shape.scale, visible(query, first), tile.p[i]);
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
    add_all_values(values, first, tile);
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
    const Vec total = splat(queries[i].total);
    for (int64_t d = 0; d < dim; d += kLanes) {
      store_part(queries[i].out + d, div(load_part(queries[i].out + d, dim - d), total), dim - d);
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

}  // namespace stepguard::STEPGUARD_TABLE
