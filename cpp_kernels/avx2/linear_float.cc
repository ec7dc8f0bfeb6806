// Float32 rows and decoded weights. Rows are packed in blocks of at most 6; a block and 16 columns
// are a register tile. With 1 or 2 rows the tile spans two panels, so that enough independent
// chains hide the latency.
#include "avx2/linear_rows.h"
#include "avx2/linear_weights.h"

namespace stepguard::avx2 {
namespace {

constexpr int64_t kSlice = 256;  // k of one panel in the buffer: 16 KiB, half of L1

// Some k of a few panels as float32: panel p is at data + p * stride, [count][16].
struct Slice {
  const float* data;
  int64_t stride, count;
};

// sums [Panels][..][16] += x . slice for one row block; x is [count][Rows].
template <int Rows, int Panels>
void tile(const float* x, const Slice& slice, float* sums, int64_t sums_stride) {
  __m256 acc[Rows][2 * Panels];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
    for (int p = 0; p < Panels; ++p) {
      acc[r][2 * p] = _mm256_loadu_ps(sums + p * sums_stride + r * kPanel);
      acc[r][2 * p + 1] = _mm256_loadu_ps(sums + p * sums_stride + r * kPanel + kLanes);
    }
  }
  for (int64_t k = 0; k < slice.count; ++k) {
    const float* w = slice.data + k * kPanel;
#pragma GCC unroll 8
    for (int p = 0; p < Panels; ++p) {
      const __m256 low = _mm256_loadu_ps(w + p * slice.stride);
      const __m256 high = _mm256_loadu_ps(w + p * slice.stride + kLanes);
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) {
        const __m256 value = _mm256_broadcast_ss(x + k * Rows + r);
        acc[r][2 * p] = _mm256_fmadd_ps(value, low, acc[r][2 * p]);
        acc[r][2 * p + 1] = _mm256_fmadd_ps(value, high, acc[r][2 * p + 1]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
    for (int p = 0; p < Panels; ++p) {
      _mm256_storeu_ps(sums + p * sums_stride + r * kPanel, acc[r][2 * p]);
      _mm256_storeu_ps(sums + p * sums_stride + r * kPanel + kLanes, acc[r][2 * p + 1]);
    }
  }
}

using Tile = void (*)(const float*, const Slice&, float*, int64_t);

Tile pick_tile(int64_t rows, int64_t panels) {
  static constexpr Tile one[] = {tile<1, 1>, tile<2, 1>, tile<3, 1>,
                                 tile<4, 1>, tile<5, 1>, tile<6, 1>};
  static constexpr Tile two[] = {tile<1, 2>, tile<2, 2>};
  return panels == 2 ? two[rows - 1] : one[rows - 1];
}

// Multiplies what it can of a single row without a buffer, and returns how much of k that was.
int64_t multiply_directly(const LinearCall& call, int64_t panel, float* sums) {
  const LinearWeight& w = call.weight;
  if (w.format == WeightFormat::kFloat32) return 0;
  const int64_t count = w.k / kBlock * kBlock;
  const auto multiply =
      w.format == WeightFormat::kInt4 ? multiply_row<Int4Columns> : multiply_row<Int8Columns>;
  multiply(w, panel, static_cast<const float*>(call.packed), count, sums);
  return count;
}

Slice decode(const LinearWeight& w, int64_t panel, int64_t panels, int64_t k, float* buffer) {
  const int64_t length = kSlice / panels;
  Slice slice{buffer, length * kPanel, least(length, w.k - k)};
  if (w.format == WeightFormat::kFloat32) {
    slice.data = static_cast<const float*>(w.data) + (panel * w.k + k) * kPanel;
    slice.stride = w.k * kPanel;
    return slice;
  }
  const auto decode_one =
      w.format == WeightFormat::kInt4 ? decode_panel<Int4Columns> : decode_panel<Int8Columns>;
  for (int64_t p = 0; p < panels; ++p) {
    decode_one(w, panel + p, k, slice.count, buffer + p * slice.stride);
  }
  return slice;
}

// Adds `panels` panels to the sums of a group; `sums` starts at the first of them.
void accumulate(const LinearCall& call, int64_t panel, int64_t panels, const Group& group,
                float* sums) {
  alignas(64) float buffer[kSlice * kPanel];
  const LinearWeight& w = call.weight;
  int64_t k = call.rows == 1 && panels == 2 ? multiply_directly(call, panel, sums) : 0;
  while (k < w.k) {
    const Slice slice = decode(w, panel, panels, k, buffer);
    for (int64_t b = group.begin; b < group.end; ++b) {
      const int64_t start = block_start(group.split, b);
      const int64_t rows = block_rows(group.split, b);
      const float* x = static_cast<const float*>(call.packed) + start * w.k + k * rows;
      pick_tile(rows, panels)(x, slice, sums + (start - group.first) * kPanel, group.rows * kPanel);
    }
    k += slice.count;
  }
}

}  // namespace

void pack_floats(const LinearInput& input, const Split& split, const float* x, int64_t begin,
                 int64_t end, void* packed) {
  const int64_t k = input.k;
  for (int64_t b = begin; b < end; ++b) {
    const int64_t count = block_rows(split, b);
    const float* from = x + block_start(split, b) * k;
    float* to = static_cast<float*>(packed) + block_start(split, b) * k;
    for (int64_t i = 0; i < k; ++i) {
      for (int64_t r = 0; r < count; ++r) to[i * count + r] = from[r * k + i];
    }
  }
}

void accumulate_floats(const LinearCall& call, int64_t panel, int64_t panels, const Group& group) {
  const int64_t step = call.rows <= 2 ? panels : 1;
  for (int64_t p = 0; p < panels; p += step) {
    accumulate(call, panel + p, step, group, group.sums + p * group.rows * kPanel);
  }
}

}  // namespace stepguard::avx2
