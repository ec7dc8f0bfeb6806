// Rows of an embedding or output table, and dot products with them.
#pragma once

#include "vector/math.h"

namespace stepguard::STEPGUARD_TABLE {
namespace {

// Some lanes of a row: scale * int8 (exact in float32), or the float32 itself.
class TableRow {
 public:
  TableRow(int64_t id, const void* table, const uint16_t* scales, int64_t width) : width_(width) {
    if (scales == nullptr) {
      floats_ = static_cast<const float*>(table) + id * width;
    } else {
      bytes_ = static_cast<const int8_t*>(table) + id * width;
      scales_ = scales + id * ((width + kBlock - 1) / kBlock);
    }
  }
  Vec lanes(int64_t i) const {
    if (floats_ != nullptr) return load_part(floats_ + i, width_ - i);
    return mul(splat(one_half(scales_[i / kBlock])), load_bytes(bytes_ + i, width_ - i));
  }

 private:
  int64_t width_;
  const float* floats_ = nullptr;
  const int8_t* bytes_ = nullptr;
  const uint16_t* scales_ = nullptr;
};

}  // namespace

void embed(const int32_t* ids, int64_t rows, const void* table, const uint16_t* scales,
           int64_t width, float* y) {
  for (int64_t r = 0; r < rows; ++r, y += width) {
    const TableRow row(ids[r], table, scales, width);
    for (int64_t i = 0; i < width; i += kLanes) store_part(y + i, row.lanes(i), width - i);
  }
}

float read_row(const float* x, int64_t id, const void* table, const uint16_t* scales,
               int64_t width) {
  const TableRow row(id, table, scales, width);
  Vec sums[4] = {zeros(), zeros(), zeros(), zeros()};
  for (int64_t i = 0; i < width; i += 4 * kLanes) {
    for (int64_t j = 0; j < 4; ++j) {
      const int64_t at = i + j * kLanes;
      if (at >= width) break;
      sums[j] = fma(load_part(x + at, width - at), row.lanes(at), sums[j]);
    }
  }
  return sum_lanes(add(add(sums[0], sums[1]), add(sums[2], sums[3])));
}

void read_rows(const float* x, int64_t rows, int64_t begin, int64_t end, const void* table,
               const uint16_t* scales, int64_t width, float* y) {
  // A row of the table stays in the cache for all rows of x.
  const int64_t count = end - begin;
  for (int64_t id = begin; id < end; ++id) {
    for (int64_t r = 0; r < rows; ++r) {
      y[r * count + id - begin] = read_row(x + r * width, id, table, scales, width);
    }
  }
}

}  // namespace stepguard::STEPGUARD_TABLE
