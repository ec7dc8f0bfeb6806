#include "device.h"

namespace stepguard::cuda {
namespace {

constexpr int kThreads = 128;

// One block a row.
SG_KERNEL embed_rows(const int32_t* ids, TableRows table, float* y) {
  const int64_t row = block_index();
  SG_THREADS(t) {
    for (int64_t i = t; i < table.width; i += kThreads) {
      y[row * table.width + i] = table_value(table, ids[row], i);
    }
  }
}

SG_KERNEL gather_rows(const float* x, const int32_t* rows, int64_t width, float* y) {
  const int64_t row = block_index();
  SG_THREADS(t) {
    for (int64_t i = t; i < width; i += kThreads) y[row * width + i] = x[rows[row] * width + i];
  }
}

}  // namespace

Problem embed(Stream stream, const int32_t* ids, int64_t rows, const TableRows& table, float* y) {
  return launch(embed_rows, rows, kThreads, stream, ids, table, y);
}

Problem gather(Stream stream, const float* x, const int32_t* rows, int64_t count, int64_t width,
               float* y) {
  return launch(gather_rows, count, kThreads, stream, x, rows, width, y);
}

}  // namespace stepguard::cuda
