#include "reference/table.h"

namespace stepguard::reference {
namespace {

// Row `id` of a table, element by element: scale * int8, or the float32 itself.
class TableRow {
 public:
  TableRow(int64_t id, const void* table, const uint16_t* scales, int64_t width) {
    if (scales == nullptr) {
      floats_ = static_cast<const float*>(table) + id * width;
    } else {
      bytes_ = static_cast<const int8_t*>(table) + id * width;
      scales_ = scales + id * ((width + kBlock - 1) / kBlock);
    }
  }
  double operator[](int64_t i) const {
    if (floats_ != nullptr) return floats_[i];
    return double{half_to_float(scales_[i / kBlock])} * bytes_[i];
  }

 private:
  const float* floats_ = nullptr;
  const int8_t* bytes_ = nullptr;
  const uint16_t* scales_ = nullptr;
};

}  // namespace

void embed(const int32_t* ids, int64_t rows, const void* table, const uint16_t* scales,
           int64_t width, float* y) {
  for (int64_t r = 0; r < rows; ++r, y += width) {
    const TableRow row(ids[r], table, scales, width);
    for (int64_t i = 0; i < width; ++i) y[i] = static_cast<float>(row[i]);
  }
}

float read_row(const float* x, int64_t id, const void* table, const uint16_t* scales,
               int64_t width) {
  const TableRow row(id, table, scales, width);
  double sum = 0.0;
  for (int64_t i = 0; i < width; ++i) sum += x[i] * row[i];
  return static_cast<float>(sum);
}

void read_rows(const float* x, int64_t rows, int64_t begin, int64_t end, const void* table,
               const uint16_t* scales, int64_t width, float* y) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t id = begin; id < end; ++id) {
      *y++ = read_row(x + r * width, id, table, scales, width);
    }
  }
}

}  // namespace stepguard::reference
