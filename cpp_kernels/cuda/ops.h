// The operations on a GPU: each puts kernels into a stream and returns at once. All pointers are
// the device's. Returns null, or why the GPU refused.
//
// The bitwise law holds by construction: an output is computed by threads whose number and order of
// sums depend on sizes of the model only, no kernel adds floats atomically, and no sum is cut by
// the number of rows. Contraction is off: a fused multiply-add is written out where it is meant.
#pragma once

#include "../kernels.h"

namespace stepguard::cuda {

using Stream = void*;  // a cudaStream_t
using Problem = const char*;

// A table of rows: 8-bit with a scale per 32, or float32 (scales null).
struct TableRows {
  const void* data = nullptr;
  const uint16_t* scales = nullptr;
  int64_t width = 0;
};

// See KernelTable::rms_norm.
Problem rms_norm(Stream stream, const float* x, const float* weight, float epsilon, float offset,
                 int64_t rows, int64_t width, float* y);

// y [rows][width]: the rows `ids` of the table.
Problem embed(Stream stream, const int32_t* ids, int64_t rows, const TableRows& table, float* y);

// Copies rows of x [.][width] to y [count][width].
Problem gather(Stream stream, const float* x, const int32_t* rows, int64_t count, int64_t width,
               float* y);

// `count` dot products: row rows[i] of x with output row ids[i]. Ids that are among label_ids,
// which ascend, are read from label_rows [labels][width], all others from the table.
struct Reads {
  const float* x = nullptr;
  const int32_t *rows = nullptr, *ids = nullptr;
  int64_t count = 0;
  TableRows table;
  const int32_t* label_ids = nullptr;
  const float* label_rows = nullptr;
  int64_t labels = 0;
};
Problem read_out(Stream stream, const Reads& reads, float* y);

// See KernelTable::read_rows; the same bits as read_out.
Problem read_rows(Stream stream, const float* x, int64_t rows, int64_t begin, int64_t end,
                  const TableRows& table, float* y);

// The highest of `count` logits a row, the lowest id of equals, and its log-probability. `work` is
// best_bytes(rows, count) large.
size_t best_bytes(int64_t rows, int64_t count);
Problem best(Stream stream, const float* logits, int64_t rows, int64_t count, void* work,
             int32_t* ids, float* scores);

// Linear in two parts, as in KernelTable: rows to integers where activations are kInt8 (else
// nothing to do, and call.packed is x itself), then units [unit_begin, unit_end).
size_t linear_packed_bytes(const LinearInput& input);
Problem linear_pack(Stream stream, const LinearInput& input, const float* x, void* packed);
Problem linear(Stream stream, const LinearCall& call, int64_t unit_begin, int64_t unit_end);

// The same bits without tensor cores, for integer rows only: what tells a wrong tile from the rest.
Problem linear_plain(Stream stream, const LinearCall& call, int64_t unit_begin, int64_t unit_end);

// cos and sin [rows][half] of the rows' positions.
Problem rotary(Stream stream, const int32_t* positions, const float* inv_freq, int64_t rows,
               int64_t half, float* cos, float* sin);

// Where a row of the batch goes.
struct RowSlot {
  int32_t page, slot;
};

// See KernelTable::attention_prepare; `rows` rows of qkv, `stride` floats apart.
struct PrepareCall {
  AttentionShape shape;
  const float* qkv = nullptr;
  int64_t rows = 0, stride = 0;
  const float *cos = nullptr, *sin = nullptr;
  const RowSlot* slots = nullptr;  // [rows]
  void* arena = nullptr;
  int64_t head_begin = 0, head_end = 0;
  float* q_out = nullptr;  // [rows][heads * head_dim]
};
Problem attention_prepare(Stream stream, const PrepareCall& call);

// Up to kTileQueries queries of one segment that go through its keys together. Query i of a segment
// is head i % group of row i / group of the segment.
constexpr int kTileQueries = 8;
struct QueryTile {
  int32_t page_start;    // in the list of pages
  int32_t position;      // of the segment's first row
  int32_t row;           // of q: the segment's first row
  int32_t out;           // of out: where the segment's first row would be
  int32_t first, count;  // queries
};

// See KernelTable::attention; for kv heads [head_begin, head_end).
struct AttendCall {
  AttentionShape shape;
  const float* q = nullptr;
  const QueryTile* tiles = nullptr;
  int64_t tile_count = 0;
  const int32_t* pages = nullptr;
  const void* arena = nullptr;
  int64_t head_begin = 0, head_end = 0;
  float* out = nullptr;
};
Problem attention(Stream stream, const AttendCall& call);

// See KernelTable::copy_page.
Problem copy_page(Stream stream, const AttentionShape& shape, const void* source, void* target,
                  int64_t tokens);

// x[i] *= sigmoid(gate[row i]) for `count` rows of x; gate rows are rows[i], or i without rows.
struct GateCall {
  const float* gate = nullptr;
  int64_t gate_stride = 0;
  const int32_t* rows = nullptr;
  int64_t count = 0, width = 0;
  float* x = nullptr;
  int64_t stride = 0;
};
Problem sigmoid_gate(Stream stream, const GateCall& call);

// See KernelTable: one segment, units [unit_begin, unit_end) and v heads [head_begin, head_end).
Problem delta_prepare(Stream stream, const DeltaShape& shape, const DeltaCall& call,
                      int64_t unit_begin, int64_t unit_end);
Problem delta_rule(Stream stream, const DeltaShape& shape, const DeltaCall& call,
                   int64_t head_begin, int64_t head_end);

// Reads `count` words, a multiple of four, with so many blocks and adds up those of each: no
// operation of a model, but how fast a GPU reads its memory.
Problem read_words(Stream stream, const uint32_t* words, int64_t count, int64_t blocks,
                   uint32_t* sums);

}  // namespace stepguard::cuda
