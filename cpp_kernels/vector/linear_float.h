// Float32 rows and decoded weights: one chain of multiply-adds per output, in the order of k,
// whatever the tile. A block of rows and the 16 columns of a panel are a register tile; with 1 or 2
// rows it spans several panels, so that enough independent chains hide the latency.
#pragma once

#include "vector/linear_rows.h"

namespace stepguard::STEPGUARD_TABLE {
namespace {

constexpr int64_t kFloatSlice = 256;  // k of one panel in the buffer: 16 KiB, half of a first cache

// Part of the columns of an int4 block as float32: a word holds 8 k of a column as nibbles,
// value + 8. scale * value is exact: a half scale has 11 significant bits, a value at most 8.
struct Int4Columns {
  static constexpr int64_t kBlockBytes = kBlock * kPanel / 2;
  static constexpr int kWordRows = 8;
  Vec scale, offset;

  explicit Int4Columns(Vec s) : scale(s), offset(mul(s, splat(-8.0F))) {}
  Vec row(Integers word, int r) const { return fma(to_floats(nibble(word, r)), scale, offset); }
};

// The same of an int8 block: a word holds 4 k of a column as signed bytes.
struct Int8Columns {
  static constexpr int64_t kBlockBytes = kBlock * kPanel;
  static constexpr int kWordRows = 4;
  Vec scale;

  explicit Int8Columns(Vec s) : scale(s) {}
  Vec row(Integers word, int r) const { return mul(to_floats(signed_byte(word, r)), scale); }
};

// Asks for a block a few steps ahead: slices of several panels are too short a run for the CPU to
// notice. Past the end of the weights nothing happens.
template <class Columns>
void ask_ahead(const uint8_t* data, const uint16_t* scales) {
  constexpr int64_t kAhead = 1024;
  for (int64_t line = 0; line < Columns::kBlockBytes; line += 64) prefetch(data + kAhead + line);
  prefetch(scales + kAhead / Columns::kBlockBytes * kPanel);
}

// Rows k..k+count of a panel to out [count rounded up to 32][16]; k is a multiple of 32.
template <class Columns>
void decode_panel(const LinearWeight& w, int64_t panel, int64_t k, int64_t count, float* out) {
  constexpr int kWords = kBlock / Columns::kWordRows;
  const int64_t block = panel * ((w.k + kBlock - 1) / kBlock) + k / kBlock;
  const auto* data = static_cast<const uint8_t*>(w.data) + block * Columns::kBlockBytes;
  const uint16_t* scales = w.scales + block * kPanel;
  for (int64_t i = 0; i < count; i += kBlock, scales += kPanel) {
    ask_ahead<Columns>(data, scales);
    Vec scale[kParts];
#pragma GCC unroll 4
    for (int p = 0; p < kParts; ++p) scale[p] = load_half(scales + p * kLanes);
    for (int index = 0; index < kWords; ++index, data += kPanel * 4) {
#pragma GCC unroll 4
      for (int p = 0; p < kParts; ++p) {
        const Columns columns(scale[p]);
        const Integers word = load_words(data + p * kLanes * 4);
#pragma GCC unroll 8
        for (int r = 0; r < Columns::kWordRows; ++r) {
          store(out + r * kPanel + p * kLanes, columns.row(word, r));
        }
      }
      out += Columns::kWordRows * kPanel;
    }
  }
}

// One row of x and kFewRowPanels panels, straight from the packed weights: sums += x . w for the
// first `count` k, a multiple of 32. The operations per column are those of a decoded slice.
template <class Columns>
void multiply_row(const LinearWeight& w, int64_t panel, const float* x, int64_t count,
                  float* sums) {
  constexpr int kVectors = kFewRowPanels * kParts;
  const int64_t blocks = (w.k + kBlock - 1) / kBlock;
  const auto* data = static_cast<const uint8_t*>(w.data) + panel * blocks * Columns::kBlockBytes;
  const uint16_t* scales = w.scales + panel * blocks * kPanel;
  Vec acc[kVectors];
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) acc[v] = load(sums + v * kLanes);
  for (int64_t k = 0; k < count; k += kBlock) {
    Vec scale[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const int64_t block = v / kParts * blocks;
      scale[v] = load_half(scales + block * kPanel + v % kParts * kLanes);
      if (v % kParts != 0) continue;
      ask_ahead<Columns>(data + block * Columns::kBlockBytes, scales + block * kPanel);
    }
    for (int64_t i = k; i < k + kBlock; i += Columns::kWordRows, data += kPanel * 4) {
      Integers words[kVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        const int64_t at = v / kParts * blocks * Columns::kBlockBytes;
        words[v] = load_words(data + at + v % kParts * kLanes * 4);
      }
#pragma GCC unroll 8
      for (int r = 0; r < Columns::kWordRows; ++r) {
        const Vec value = splat(x[i + r]);
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v) {
          acc[v] = fma(value, Columns(scale[v]).row(words[v], r), acc[v]);
        }
      }
    }
    scales += kPanel;
  }
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) store(sums + v * kLanes, acc[v]);
}

// Some k of a few panels as float32: panel p is at data + p * stride, [count][16].
struct Slice {
  const float* data;
  int64_t stride, count;
};

// sums [Panels][..][16] += x . slice for one row block; x is [count][Rows].
template <int Rows, int Panels>
void float_tile(const float* x, const Slice& slice, float* sums, int64_t sums_stride) {
  constexpr int kVectors = Panels * kParts;
  Vec acc[Rows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) {
      acc[r][v] = load(sums + v / kParts * sums_stride + r * kPanel + v % kParts * kLanes);
    }
  }
  for (int64_t k = 0; k < slice.count; ++k, x += Rows) {
#pragma GCC unroll 16
    for (int first = 0; first < kVectors; first += kParts) {  // of each panel
      const float* from = slice.data + first / kParts * slice.stride + k * kPanel;
      Vec w[kParts];
#pragma GCC unroll 4
      for (int p = 0; p < kParts; ++p) w[p] = load_once(from + p * kLanes);
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) {
        const Vec value = splat(x[r]);
#pragma GCC unroll 4
        for (int p = 0; p < kParts; ++p) acc[r][first + p] = fma(value, w[p], acc[r][first + p]);
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) {
      store(sums + v / kParts * sums_stride + r * kPanel + v % kParts * kLanes, acc[r][v]);
    }
  }
}

using FloatTile = void (*)(const float*, const Slice&, float*, int64_t);

template <int... R>
constexpr ByRows<FloatTile, sizeof...(R)> float_tiles(std::integer_sequence<int, R...>) {
  return {{float_tile<R + 1, 1>...}};
}

FloatTile pick_float_tile(int64_t rows, int64_t panels) {
  static constexpr auto one = float_tiles(std::make_integer_sequence<int, kFloatRows>());
  if (panels == 1) return one[rows];
  return rows == 1 ? float_tile<1, kFewRowPanels> : float_tile<2, kFewRowPanels>;
}

Slice decode(const LinearWeight& w, int64_t panel, int64_t panels, int64_t k, float* buffer) {
  const int64_t length = kFloatSlice / panels;
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

void accumulate_few(const LinearCall& call, int64_t panel, int64_t panels, const Group& group,
                    float* sums) {
  alignas(64) float buffer[kFloatSlice * kPanel];
  const LinearWeight& w = call.weight;
  const bool direct = call.rows == 1 && panels == kFewRowPanels;
  int64_t k = direct ? multiply_directly(call, panel, sums) : 0;
  while (k < w.k) {
    const Slice slice = decode(w, panel, panels, k, buffer);
    for (int64_t b = group.begin; b < group.end; ++b) {
      const int64_t start = block_start(group.split, b);
      const int64_t rows = block_rows(group.split, b);
      const float* x = static_cast<const float*>(call.packed) + start * w.k + k * rows;
      pick_float_tile(rows, panels)(x, slice, sums + (start - group.first) * kPanel,
                                    group.rows * kPanel);
    }
    k += slice.count;
  }
}

// Adds x . w of a group of rows to the sums of `panels` panels.
void accumulate_floats(const LinearCall& call, int64_t panel, int64_t panels, const Group& group) {
  const int64_t step = call.rows <= 2 && panels == kFewRowPanels ? panels : 1;
  for (int64_t p = 0; p < panels; p += step) {
    accumulate_few(call, panel + p, step, group, group.sums + p * group.rows * kPanel);
  }
}

// A block of rows becomes [k][rows].
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

}  // namespace
}  // namespace stepguard::STEPGUARD_TABLE
