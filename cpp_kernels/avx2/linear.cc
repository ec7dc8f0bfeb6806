// y = x . W: one chain of multiply-adds per output, in the order of k, whatever the tile. Rows are
// packed in blocks of at most 6; a block and 16 columns are a register tile. With 1 or 2 rows the
// tile spans two panels, so that enough independent chains hide the latency.
#include "avx2/activation.h"
#include "avx2/linear_weights.h"
#include "avx2/table.h"

namespace stepguard::avx2 {
namespace {

constexpr int64_t kBlockRows = 6;
constexpr int64_t kGroupBlocks = 16;  // row blocks that share a decoded slice
constexpr int64_t kSlice = 256;       // k of one panel in the buffer: 16 KiB, half of L1
constexpr int64_t kSums = 2 * kGroupBlocks * kBlockRows * kPanel;

// Rows split evenly: 8 rows are 4 + 4, never 6 + 2, since small tiles are slow.
struct Split {
  int64_t count, base, extra;

  explicit Split(int64_t rows)
      : count((rows + kBlockRows - 1) / kBlockRows),
        base(count == 0 ? 0 : rows / count),
        extra(count == 0 ? 0 : rows % count) {}
  int64_t start(int64_t block) const { return block * base + least(block, extra); }
  int64_t rows(int64_t block) const { return base + (block < extra ? 1 : 0); }
};

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

// Row blocks [begin, end) of a call and where their sums lie: [panel][rows][16].
struct Group {
  Split split;
  int64_t begin, end;
  float* sums;

  int64_t first() const { return split.start(begin); }
  int64_t rows() const { return split.start(end) - first(); }
  int64_t stride() const { return rows() * kPanel; }
};

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
      const int64_t start = group.split.start(b);
      const int64_t rows = group.split.rows(b);
      const float* x = static_cast<const float*>(call.packed) + start * w.k + k * rows;
      pick_tile(rows, panels)(x, slice, sums + (start - group.first()) * kPanel, group.stride());
    }
    k += slice.count;
  }
}

// y = sums (+ bias) (+ residual) for one panel; only columns below n are read or written.
void finish_panel(const LinearCall& call, int64_t panel, const Group& group, const float* sums) {
  const int64_t n = call.weight.n;
  for (int64_t r = 0; r < group.rows(); ++r) {
    for (int64_t c = 0; c < kPanel; c += kLanes) {
      const int64_t column = panel * kPanel + c;
      if (column >= n) break;
      const int64_t at = (group.first() + r) * n + column;
      __m256 sum = _mm256_loadu_ps(sums + r * kPanel + c);
      if (call.weight.bias != nullptr) {
        sum = _mm256_add_ps(sum, load_part(call.weight.bias + column, n - column));
      }
      if (call.epilogue == Epilogue::kResidual) {
        sum = _mm256_add_ps(sum, load_part(call.residual + at, n - column));
      }
      store_part(call.y + at, sum, n - column);
    }
  }
}

// y = silu(gate) * up for one pair of panels.
void finish_pair(const LinearCall& call, int64_t unit, const Group& group, const float* gate,
                 const float* up) {
  const int64_t n = call.weight.n / 2;
  for (int64_t r = 0; r < group.rows(); ++r) {
    for (int64_t c = 0; c < kPanel; c += kLanes) {
      const int64_t column = unit * kPanel + c;
      if (column >= n) break;
      const __m256 g = silu_lanes(_mm256_loadu_ps(gate + r * kPanel + c));
      const __m256 value = _mm256_mul_ps(g, _mm256_loadu_ps(up + r * kPanel + c));
      store_part(call.y + (group.first() + r) * n + column, value, n - column);
    }
  }
}

void finish(const LinearCall& call, int64_t panel, int64_t panels, const Group& group) {
  const int64_t step = call.epilogue == Epilogue::kSwiGlu ? 2 : 1;
  for (int64_t p = 0; p < panels; p += step) {
    const float* sums = group.sums + p * group.stride();
    if (step == 2) {
      finish_pair(call, (panel + p) / 2, group, sums, sums + group.stride());
    } else {
      finish_panel(call, panel + p, group, sums);
    }
  }
}

}  // namespace

int64_t linear_blocks(int64_t rows) { return Split(rows).count; }

size_t linear_packed_bytes(WeightFormat, int64_t rows, int64_t k) {
  return static_cast<size_t>(rows * k) * sizeof(float);
}

// A block of rows becomes [k][rows]: what one step of a tile reads lies together.
void linear_pack(WeightFormat, const float* x, int64_t rows, int64_t k, int64_t block_begin,
                 int64_t block_end, void* packed) {
  const Split split(rows);
  for (int64_t b = block_begin; b < block_end; ++b) {
    const int64_t count = split.rows(b);
    const float* from = x + split.start(b) * k;
    float* to = static_cast<float*>(packed) + split.start(b) * k;
    for (int64_t i = 0; i < k; ++i) {
      for (int64_t r = 0; r < count; ++r) to[i * count + r] = from[r * k + i];
    }
  }
}

void linear(const LinearCall& call, int64_t unit_begin, int64_t unit_end) {
  alignas(64) float sums[kSums];
  const int64_t width = call.epilogue == Epilogue::kSwiGlu ? 2 : 1;
  const int64_t last = unit_end * width;
  const Split split(call.rows);
  for (int64_t panel = unit_begin * width; panel < last; panel += 2) {
    const int64_t panels = least(2, last - panel);  // two at a time: SwiGLU needs the pair
    const int64_t step = call.rows <= 2 ? panels : 1;
    for (int64_t begin = 0; begin < split.count; begin += kGroupBlocks) {
      const Group group{split, begin, least(begin + kGroupBlocks, split.count), sums};
      for (int64_t i = 0; i < panels * group.stride(); ++i) sums[i] = 0.0F;
      for (int64_t p = 0; p < panels; p += step) {
        accumulate(call, panel + p, step, group, sums + p * group.stride());
      }
      finish(call, panel, panels, group);
    }
  }
}

}  // namespace stepguard::avx2
