// Own: attention over pages in fp16, both products in tiles; other pages and odd sizes go through
// avx512. Queries, keys, probabilities and values are split into two bfloat16 numbers each, which
// hold a half float exactly and 16 bits of a float32; of the four products the one of both lower
// parts is left out. What is rounded is far below the pages' own rounding.
//
// Keys are taken 128 at a time, at positions that are multiples of 128, so that the order of a
// query's sums depends on its position only.
#include "amx/split.h"
#include "amx/table.h"
#include "avx512/table.h"
#include "vector/page.h"
#include "vector/softmax.h"

namespace stepguard::amx {
namespace {

constexpr int64_t kSharing = 96;  // that share a block of keys
constexpr int64_t kQueryTiles = kSharing / kTileRows;
constexpr int64_t kBlockPages = 4;  // of a block
constexpr int64_t kBlockKeys = kBlockPages * kPage;
constexpr int64_t kMostDepth = kMaxHeadDim / kBlock;   // blocks of 32 dimensions
constexpr int64_t kMostPanels = kMaxHeadDim / kPanel;  // of 16

// A query and its running softmax.
struct Query {
  float* out;
  int64_t position;
  float top, total;
};

// Everything of up to 96 queries of one kv head: on the stack of the thread that computes them.
struct Work {
  alignas(64) SplitTile q[kQueryTiles][kMostDepth];
  alignas(64) float scores[kSharing][kBlockKeys];
  alignas(64) SplitTile p[kQueryTiles][kBlockPages];
  alignas(64) float sums[kQueryTiles][kMostPanels][kTileRows][kPanel];
  alignas(64) SplitTile keys[kMostDepth][2];
  alignas(64) SplitTile values[kBlockPages];
  Query queries[kSharing];
  int64_t size;
};

// The pages of one kv head: K [head_dim][32], V [32][head_dim].
struct Head {
  const AttentionShape& shape;
  const int32_t* pages;
  const void* arena;
  int64_t kv_head;

  const uint16_t* plane(int64_t page, int64_t values) const {
    return reinterpret_cast<const uint16_t*>(
        plane_at(shape, arena, pages[page], 2 * kv_head + values));
  }
  int64_t depth() const { return shape.head_dim / kBlock; }
  int64_t panels() const { return shape.head_dim / kPanel; }
};

int64_t tiles_of(const Work& work) { return (work.size + kTileRows - 1) / kTileRows; }

// Keys of the block at positions first.. that a query sees; not above zero: it has seen all.
int64_t visible(const Query& query, int64_t first) {
  return least(query.position - first + 1, kBlockKeys);
}

// Scores of all queries for the 32 keys of a page.
void score_page(Work& work, const Head& head, int64_t page, int64_t at) {
  const uint16_t* plane = head.plane(page, 0);
  for (int64_t d = 0; d < head.depth(); ++d) {
    for (int64_t half = 0; half < 2; ++half) {
      split_halves(plane + d * kBlock * kPage + half * kPanel, kPage, kBlock, work.keys[d][half]);
    }
  }
  before_tile_loads();
  for (int64_t t = 0; t < tiles_of(work); ++t) {
    _tile_zero(0);
    _tile_zero(1);
    for (int64_t d = 0; d < head.depth(); ++d) {
      _tile_loadd(2, work.q[t][d].high, 64);
      _tile_loadd(4, work.keys[d][0].high, 64);
      _tile_loadd(5, work.keys[d][1].high, 64);
      _tile_dpbf16ps(0, 2, 4);
      _tile_dpbf16ps(1, 2, 5);
      _tile_loadd(3, work.q[t][d].low, 64);
      _tile_dpbf16ps(0, 3, 4);
      _tile_dpbf16ps(1, 3, 5);
      _tile_loadd(6, work.keys[d][0].low, 64);
      _tile_loadd(7, work.keys[d][1].low, 64);
      _tile_dpbf16ps(0, 2, 6);
      _tile_dpbf16ps(1, 2, 7);
    }
    float* to = work.scores[t * kTileRows] + at;
    _tile_stored(0, to, kBlockKeys * 4);
    _tile_stored(1, to + kPanel, kBlockKeys * 4);
  }
}

void rescale(Work& work, int64_t query, int64_t panels, float factor) {
  for (int64_t p = 0; p < panels; ++p) {
    float* sums = work.sums[query / kTileRows][p][query % kTileRows];
    store(sums, mul(load(sums), splat(factor)));
  }
}

// Probabilities of all queries, in tiles, and their sums so far made to fit the new maximum.
void softmax(Work& work, const Head& head, int64_t first) {
  for (int64_t i = 0; i < tiles_of(work) * kTileRows; ++i) {
    const int64_t count = i < work.size ? visible(work.queries[i], first) : 0;
    float* p = work.scores[i];
    if (count > 0) {
      const float factor = softmax_step<kBlockKeys>(work.queries[i], head.shape.scale, count, p);
      if (factor != 1.0F) rescale(work, i, head.panels(), factor);
    } else {
      for (int64_t j = 0; j < kBlockKeys; j += kLanes) store(p + j, zeros());
    }
    for (int64_t page = 0; page < kBlockPages; ++page) {
      split_floats(p + page * kPage, i % kTileRows, work.p[i / kTileRows][page]);
    }
  }
}

// 16 dimensions of the values of the block's first `count` keys; the others are zero.
void split_values(Work& work, const Head& head, int64_t first, int64_t count, int64_t panel) {
  for (int64_t page = 0; page * kPage < count; ++page) {
    split_halves(head.plane(first / kPage + page, 1) + panel * kPanel, head.shape.head_dim,
                 least(kPage, count - page * kPage), work.values[page]);
  }
  before_tile_loads();
}

// to = sums of a row tile + p . V for one panel and `pages` pages.
void multiply_values(const Work& work, int64_t tile, int64_t pages, const float* sums, float* to) {
  _tile_loadd(0, sums, kPanel * 4);
  for (int64_t page = 0; page < pages; ++page) {
    const SplitTile& p = work.p[tile][page];
    _tile_loadd(2, p.high, 64);
    _tile_loadd(4, work.values[page].high, 64);
    _tile_dpbf16ps(0, 2, 4);
    _tile_loadd(3, p.low, 64);
    _tile_dpbf16ps(0, 3, 4);
    _tile_loadd(5, work.values[page].low, 64);
    _tile_dpbf16ps(0, 2, 5);
  }
  _tile_stored(0, to, kPanel * 4);
}

// Whether all values of keys begin..end of a block are numbers.
bool are_numbers(const Head& head, int64_t first, int64_t begin, int64_t end) {
  constexpr int kInfinite = 0x7C00;  // the exponent of Inf and NaN
  for (int64_t j = begin; j < end; ++j) {
    const uint16_t* row = head.plane((first + j) / kPage, 1) + j % kPage * head.shape.head_dim;
    int bad = 0;
    for (int64_t d = 0; d < head.shape.head_dim; ++d) bad |= (row[d] & kInfinite) == kInfinite;
    if (bad != 0) return false;
  }
  return true;
}

void add_values(Work& work, const Head& head, int64_t first, int64_t count) {
  const int64_t pages = (count + kPage - 1) / kPage;
  for (int64_t panel = 0; panel < head.panels(); ++panel) {
    split_values(work, head, first, count, panel);
    for (int64_t t = 0; t < tiles_of(work); ++t) {
      float* sums = work.sums[t][panel][0];
      multiply_values(work, t, pages, sums, sums);
    }
  }
}

// The same query by query, each with the values that it sees: one that is no number must not reach
// those before it, and zero times Inf is none.
void add_own_values(Work& work, const Head& head, int64_t first) {
  alignas(64) float sums[kTileRows][kPanel];
  for (int64_t i = 0; i < work.size; ++i) {
    const int64_t count = visible(work.queries[i], first);
    for (int64_t panel = 0; count > 0 && panel < head.panels(); ++panel) {
      split_values(work, head, first, count, panel);
      float* own = work.sums[i / kTileRows][panel][i % kTileRows];
      multiply_values(work, i / kTileRows, (count + kPage - 1) / kPage,
                      work.sums[i / kTileRows][panel][0], sums[0]);
      store(own, load(sums[i % kTileRows]));
    }
  }
}

void attend_block(Work& work, const Head& head, int64_t first) {
  const int64_t count = visible(work.queries[work.size - 1], first);  // the last sees the most
  for (int64_t at = 0; at < count; at += kPage) {
    score_page(work, head, (first + at) / kPage, at);
  }
  softmax(work, head, first);
  const int64_t all = visible(work.queries[0], first);  // what every query sees
  if (are_numbers(head, first, all > 0 ? all : 0, count)) {
    add_values(work, head, first, count);
  } else {
    add_own_values(work, head, first);
  }
}

void clear_sums(Work& work, const Head& head) {
  for (int64_t t = 0; t < tiles_of(work); ++t) {
    for (int64_t p = 0; p < head.panels(); ++p) {
      for (int64_t r = 0; r < kTileRows; ++r) store(work.sums[t][p][r], zeros());
    }
  }
}

void attend(Work& work, const Head& head) {
  const Tiles tiles(kTileRows, kBlock * 2);
  clear_sums(work, head);
  for (int64_t first = 0; first <= work.queries[work.size - 1].position; first += kBlockKeys) {
    attend_block(work, head, first);
  }
  for (int64_t i = 0; i < work.size; ++i) {
    const Vec total = splat(work.queries[i].total);
    for (int64_t p = 0; p < head.panels(); ++p) {
      // Adding zero: a sum of nothing but -0 is 0, whatever the other rows of its tile see.
      const Vec sums = add(load(work.sums[i / kTileRows][p][i % kTileRows]), zeros());
      store(work.queries[i].out + p * kPanel, div(sums, total));
    }
  }
}

void add_query(Work& work, const Head& head, const float* q, float* out, int64_t position) {
  for (int64_t d = 0; d < head.depth(); ++d) {
    split_floats(q + d * kBlock, work.size % kTileRows, work.q[work.size / kTileRows][d]);
  }
  work.queries[work.size++] = Query{out, position, -kInfinity, 0.0F};
}

// Rows of the last tile that are no query must be numbers.
void fill_last_tile(Work& work, const Head& head) {
  alignas(64) static constexpr float kNothing[kBlock] = {};
  for (int64_t i = work.size; i < tiles_of(work) * kTileRows; ++i) {
    for (int64_t d = 0; d < head.depth(); ++d) {
      split_floats(kNothing, i % kTileRows, work.q[i / kTileRows][d]);
    }
  }
}

}  // namespace

void attention(const AttentionShape& shape, const float* q, int64_t position, int64_t rows,
               const int32_t* pages, const void* arena, int64_t kv_head, float* out) {
  if (!shape.kv_half || shape.head_dim % kBlock != 0) {
    return avx512::attention(shape, q, position, rows, pages, arena, kv_head, out);
  }
  Work work;
  const Head head{shape, pages, arena, kv_head};
  const int64_t group = shape.heads / shape.kv_heads;
  work.size = 0;
  for (int64_t i = 0; i < rows * group; ++i) {
    const int64_t row = i / group;
    const int64_t at = (row * shape.heads + kv_head * group + i % group) * shape.head_dim;
    add_query(work, head, q + at, out + at, position + row);
    if (work.size < kSharing && i + 1 < rows * group) continue;
    fill_last_tile(work, head);
    attend(work, head);
    work.size = 0;
  }
}

}  // namespace stepguard::amx
