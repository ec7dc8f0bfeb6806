// Causal attention over blocks of 32 keys with an online softmax. Per query the order is fixed:
// scores over d, the block's maximum, probabilities, their sum over a fixed tree, then values key
// by key. Queries that share a kv head share the load of a block, up to three a register tile.
#include "avx2/page.h"
#include "avx2/table.h"

namespace stepguard::avx2 {
namespace {

constexpr int64_t kTile = 48;  // queries that share one decoded block
constexpr int kQueries = 3;    // queries of a register tile
constexpr float kInfinity = __builtin_inff();

// A query and its running softmax; `out` holds the sum of values not yet divided by `total`.
struct Query {
  const float* q;
  float* out;
  int64_t position;
  float top, total;
};

// K [head_dim][32] and V [32][head_dim] of one block.
struct FloatBlock {
  const float* k;
  const float* v;

  __m256 key(int64_t at) const { return _mm256_loadu_ps(k + at); }
  __m256 value(int64_t at) const { return _mm256_loadu_ps(v + at); }
  __m256 value_part(int64_t at, int64_t count) const { return load_part(v + at, count); }
};

struct HalfBlock {  // only where head_dim is a multiple of 8
  const uint16_t* k;
  const uint16_t* v;

  __m256 key(int64_t at) const { return load_half(k + at); }
  __m256 value(int64_t at) const { return load_half(v + at); }
  __m256 value_part(int64_t at, int64_t) const { return load_half(v + at); }
};

struct Probabilities {
  alignas(32) float p[kQueries][kPage];
  float factor[kQueries];  // what the sums so far are multiplied with
};

// The new maximum and p = exp(score - maximum) of the first `count` keys; p of the others is zero.
void softmax_step(Query& query, const __m256 dots[4], float scale, int64_t count, float* p,
                  float* factor) {
  __m256 score[4];
  __m256 mask[4];
  __m256 best = _mm256_set1_ps(-kInfinity);
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    const int64_t left = count - c * kLanes;
    mask[c] = _mm256_castsi256_ps(lane_mask(left < 0 ? 0 : least(left, kLanes)));
    score[c] = _mm256_blendv_ps(_mm256_set1_ps(-kInfinity),
                                _mm256_mul_ps(dots[c], _mm256_set1_ps(scale)), mask[c]);
    best = _mm256_max_ps(best, score[c]);
  }
  alignas(32) float lanes[kLanes];
  _mm256_store_ps(lanes, best);
  float top = query.top;
  for (const float lane : lanes) top = lane > top ? lane : top;

  const __m256 shift = _mm256_set1_ps(top);
  // Mostly the maximum stays; e^0 is exactly 1, so the shorter way has the same bits.
  *factor = top == query.top ? 1.0F : _mm256_cvtss_f32(exp_lanes(_mm256_set1_ps(query.top - top)));
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    score[c] = _mm256_and_ps(exp_lanes(_mm256_sub_ps(score[c], shift)), mask[c]);
    _mm256_store_ps(p + c * kLanes, score[c]);
  }
  const float sum = sum_lanes(
      _mm256_add_ps(_mm256_add_ps(score[0], score[1]), _mm256_add_ps(score[2], score[3])));
  query.top = top;
  query.total = query.total * *factor + sum;
}

template <int N, class Block>
void scores(const Block& block, int64_t head_dim, const Query* queries, __m256 dots[N][4]) {
  __m256 acc[N][4];  // not `dots`: what may be aliased would be stored at every step
  const float* q[N];
#pragma GCC unroll 3
  for (int n = 0; n < N; ++n) {
    q[n] = queries[n].q;
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) acc[n][c] = _mm256_setzero_ps();
  }
  for (int64_t d = 0; d < head_dim; ++d) {
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
      const __m256 key = block.key(d * kPage + c * kLanes);
#pragma GCC unroll 3
      for (int n = 0; n < N; ++n) {
        acc[n][c] = _mm256_fmadd_ps(_mm256_broadcast_ss(q[n] + d), key, acc[n][c]);
      }
    }
  }
#pragma GCC unroll 3
  for (int n = 0; n < N; ++n) {
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) dots[n][c] = acc[n][c];
  }
}

// out[d..] = out * factor + p . V for 32 dimensions. Keys from `count` on are never read: a slot
// that was not written may hold anything, and 0 * NaN is NaN.
template <int N, class Block>
void add_values(const Block& block, int64_t head_dim, int64_t d, int64_t count,
                const Probabilities& weights, const Query* queries) {
  __m256 acc[N][4];
#pragma GCC unroll 3
  for (int n = 0; n < N; ++n) {
    const __m256 factor = _mm256_set1_ps(weights.factor[n]);
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
      acc[n][c] = _mm256_mul_ps(_mm256_loadu_ps(queries[n].out + d + c * kLanes), factor);
    }
  }
  for (int64_t j = 0; j < count; ++j) {
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
      const __m256 value = block.value(j * head_dim + d + c * kLanes);
#pragma GCC unroll 3
      for (int n = 0; n < N; ++n) {
        acc[n][c] = _mm256_fmadd_ps(_mm256_broadcast_ss(weights.p[n] + j), value, acc[n][c]);
      }
    }
  }
#pragma GCC unroll 3
  for (int n = 0; n < N; ++n) {
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) _mm256_storeu_ps(queries[n].out + d + c * kLanes, acc[n][c]);
  }
}

// The same for the 1 to 8 dimensions from d on.
template <int N, class Block>
void add_values_part(const Block& block, int64_t head_dim, int64_t d, int64_t count,
                     const Probabilities& weights, const Query* queries) {
  const int64_t left = head_dim - d;
  __m256 acc[N];
  for (int n = 0; n < N; ++n) {
    acc[n] = _mm256_mul_ps(load_part(queries[n].out + d, left), _mm256_set1_ps(weights.factor[n]));
  }
  for (int64_t j = 0; j < count; ++j) {
    const __m256 value = block.value_part(j * head_dim + d, left);
    for (int n = 0; n < N; ++n) {
      acc[n] = _mm256_fmadd_ps(_mm256_broadcast_ss(weights.p[n] + j), value, acc[n]);
    }
  }
  for (int n = 0; n < N; ++n) store_part(queries[n].out + d, acc[n], left);
}

// N queries that all see the first `count` keys of the block.
template <int N, class Block>
void step(const AttentionShape& shape, const Block& block, int64_t count, Query* queries) {
  Probabilities weights;
  __m256 dots[N][4];
  scores<N>(block, shape.head_dim, queries, dots);
  for (int n = 0; n < N; ++n) {
    softmax_step(queries[n], dots[n], shape.scale, count, weights.p[n], &weights.factor[n]);
  }
  int64_t d = 0;
  for (; d + 4 * kLanes <= shape.head_dim; d += 4 * kLanes) {
    add_values<N>(block, shape.head_dim, d, count, weights, queries);
  }
  for (; d < shape.head_dim; d += kLanes) {
    add_values_part<N>(block, shape.head_dim, d, count, weights, queries);
  }
}

// Keys of the block at positions first.. that a query sees.
int64_t visible(const Query& query, int64_t first) {
  return least(query.position - first + 1, kPage);
}

template <class Block>
void attend_block(const AttentionShape& shape, const Block& block, int64_t first, Query* queries,
                  int64_t size) {
  for (int64_t i = 0; i < size;) {
    const int64_t count = visible(queries[i], first);
    int64_t width = 1;
    while (width < kQueries && i + width < size && visible(queries[i + width], first) == count) {
      ++width;
    }
    if (count > 0) {
      if (width == 3) step<3>(shape, block, count, queries + i);
      if (width == 2) step<2>(shape, block, count, queries + i);
      if (width == 1) step<1>(shape, block, count, queries + i);
    }
    i += width;
  }
}

// Both planes as float32, [2][32 * head_dim]: they are contiguous in the page.
void decode_block(const uint16_t* planes, int64_t head_dim, float* out) {
  for (int64_t i = 0; i < 2 * kPage * head_dim; i += kLanes) {
    _mm256_store_ps(out + i, load_half(planes + i));
  }
}

void attend_tile(const AttentionShape& shape, const int32_t* pages, const void* arena,
                 int64_t kv_head, Query* queries, int64_t size) {
  alignas(64) float buffer[2 * kPage * kMaxHeadDim];
  const int64_t dim = shape.head_dim;
  for (int64_t i = 0; i < size; ++i) {
    for (int64_t d = 0; d < dim; ++d) queries[i].out[d] = 0.0F;
  }
  for (int64_t first = 0; first <= queries[size - 1].position; first += kPage) {
    const uint8_t* plane = plane_at(shape, arena, pages[first / kPage], 2 * kv_head);
    const auto* floats = reinterpret_cast<const float*>(plane);
    const auto* halves = reinterpret_cast<const uint16_t*>(plane);
    if (shape.kv_half && size == 1 && dim % kLanes == 0) {
      attend_block(shape, HalfBlock{halves, halves + kPage * dim}, first, queries, size);
      continue;
    }
    if (shape.kv_half) {
      decode_block(halves, dim, buffer);
      floats = buffer;
    }
    attend_block(shape, FloatBlock{floats, floats + kPage * dim}, first, queries, size);
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
