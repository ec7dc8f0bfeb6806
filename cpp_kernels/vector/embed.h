// Rows of an embedding or output table, and dot products with them.
#pragma once

#include "vector/math.h"

namespace stepguard::STEPGUARD_TABLE {
namespace {

constexpr int64_t kBlockVectors = kBlock / kLanes;

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
    return mul(splat_half(scales_[i / kBlock]), load_bytes(bytes_ + i, width_ - i));
  }
  // Lanes i..i+31, all of them inside the row: the same, with one look at their scale.
  void block(int64_t i, Vec out[kBlockVectors]) const {
    if (floats_ != nullptr) {
      for (int64_t j = 0; j < kBlockVectors; ++j) out[j] = load(floats_ + i + j * kLanes);
      return;
    }
    const Vec scale = splat_half(scales_[i / kBlock]);
    for (int64_t j = 0; j < kBlockVectors; ++j) {
      out[j] = mul(scale, load_bytes(bytes_ + i + j * kLanes, kLanes));
    }
  }

 private:
  int64_t width_;
  const float* floats_ = nullptr;
  const int8_t* bytes_ = nullptr;
  const uint16_t* scales_ = nullptr;
};

// Dot products of Rows rows of x with one row of a table, each summed in the same order:
// y[r * stride].
template <int Rows>
void dots(const float* x, const TableRow& row, int64_t width, float* y, int64_t stride) {
  constexpr int64_t kSums = 4;
  static_assert(kBlockVectors % kSums == 0, "a block begins with the first sum");
  Vec sums[Rows][kSums];
  for (auto& four : sums) {
    for (Vec& sum : four) sum = zeros();
  }
  int64_t i = 0;
  for (; i + kBlock <= width; i += kBlock) {
    Vec lanes[kBlockVectors];
    row.block(i, lanes);
    for (int64_t r = 0; r < Rows; ++r) {
      for (int64_t j = 0; j < kBlockVectors; ++j) {
        Vec& sum = sums[r][j % kSums];
        sum = fma(load(x + r * width + i + j * kLanes), lanes[j], sum);
      }
    }
  }
  for (int64_t j = 0; i + j * kLanes < width; ++j) {
    const int64_t at = i + j * kLanes;
    const Vec lanes = row.lanes(at);
    for (int64_t r = 0; r < Rows; ++r) {
      Vec& sum = sums[r][j % kSums];
      sum = fma(load_part(x + r * width + at, width - at), lanes, sum);
    }
  }
  for (int64_t r = 0; r < Rows; ++r) {
    const Vec* four = sums[r];
    y[r * stride] = sum_lanes(add(add(four[0], four[1]), add(four[2], four[3])));
  }
}

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
  float y = 0.0F;
  dots<1>(x, TableRow(id, table, scales, width), width, &y, 0);
  return y;
}

// A row of the table is decoded once for two rows of x.
void read_rows(const float* x, int64_t rows, int64_t begin, int64_t end, const void* table,
               const uint16_t* scales, int64_t width, float* y) {
  const int64_t count = end - begin;
  for (int64_t id = begin; id < end; ++id, ++y) {
    const TableRow row(id, table, scales, width);
    int64_t r = 0;
    for (; r + 2 <= rows; r += 2) dots<2>(x + r * width, row, width, y + r * count, count);
    if (r < rows) dots<1>(x + r * width, row, width, y + r * count, count);
  }
}

}  // namespace stepguard::STEPGUARD_TABLE
