// Rows rounded to integers and weights as they are. A block of 32 along k has one integer sum,
// exact whatever the order, then one multiply-add in float32: the same bits as the vector tables of
// CPUs, and as the tiles of tensor cores, which are compared with it.
#include "linear.h"
#include "packed_rows.h"

namespace stepguard::cuda {
namespace {

// sums += scale of the row * scale of the weights * total, for one block.
SG_DEVICE void add_totals(const LinearCall& call, const PackedRows& x, const Column& column,
                          int64_t block, const int32_t* totals, RowSums& sums) {
  const float scale = weight_scale(call.weight, column, block);
  SG_UNROLL
  for (int r = 0; r < kRowsEach; ++r) {
    if (r >= column.rows) continue;
    const float product = x.scale(column.row + r, block) * scale;
    sums.of[r] = fmaf(product, static_cast<float>(totals[r]), sums.of[r]);
  }
}

SG_DEVICE PackedRows rows_of(const LinearCall& call) {
  return packed_rows(call.weight.format, call.rows, call.weight.k, const_cast<void*>(call.packed));
}

struct Int4Bytes {
  SG_DEVICE void add(const LinearCall& call, const Column& column, RowSums& sums) {
    const PackedRows x = rows_of(call);
    for (int64_t block = 0; block < x.blocks; ++block) {
      int32_t totals[kRowsEach] = {};
      for (int word = 0; word < kWords / 2; ++word) {
        const uint32_t bits = weight_word(call.weight, column, block, word);
        const uint32_t even = nibbles_to_bytes(bits), odd = nibbles_to_bytes(bits >> 4);
        SG_UNROLL
        for (int r = 0; r < kRowsEach; ++r) {
          if (r >= column.rows) continue;
          const uint32_t* words = x.block(column.row + r, block);
          totals[r] = dot_bytes(words[word], even, totals[r]);
          totals[r] = dot_bytes(words[word + kWords / 2], odd, totals[r]);
        }
      }
      add_totals(call, x, column, block, totals, sums);
    }
  }
};

struct Int8Bytes {
  SG_DEVICE void add(const LinearCall& call, const Column& column, RowSums& sums) {
    const PackedRows x = rows_of(call);
    for (int64_t block = 0; block < x.blocks; ++block) {
      int32_t high[kRowsEach] = {}, totals[kRowsEach] = {};
      for (int word = 0; word < kWords; ++word) {
        const uint32_t weights = weight_word(call.weight, column, block, word);
        SG_UNROLL
        for (int r = 0; r < kRowsEach; ++r) {
          if (r >= column.rows) continue;
          const uint32_t* words = x.block(column.row + r, block);
          high[r] = dot_bytes(words[word], weights, high[r]);
          totals[r] = dot_unsigned(words[kWords + word], weights, totals[r]);
        }
      }
      SG_UNROLL
      for (int r = 0; r < kRowsEach; ++r) totals[r] += 256 * high[r];
      add_totals(call, x, column, block, totals, sums);
    }
  }
};

}  // namespace

Problem linear_plain(Stream stream, const LinearCall& call, int64_t unit_begin, int64_t unit_end) {
  return call.weight.format == WeightFormat::kInt4
             ? launch_multiply<Int4Bytes>(stream, call, unit_begin, unit_end)
             : launch_multiply<Int8Bytes>(stream, call, unit_begin, unit_end);
}

}  // namespace stepguard::cuda
