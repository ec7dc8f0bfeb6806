// Rows rounded to integers and weights as they are. For every 32 along k a column has one integer
// sum, exact whatever the order, and then one multiply-add in float32: the float32 chain is the
// only order there is, the same in every tile.
//
// What instructions a step has is a Kind (Int4, Int8) of the instruction set: it packs 32 elements
// of a row to words, one a step, and multiplies a word with the same step of the weights of 16
// columns. A step is 4 k, or 2 k where rows have 16 bits.
#pragma once

#include "vector/linear_rows.h"
#include "vector/round.h"

namespace stepguard::STEPGUARD_TABLE {
namespace {

// 32 elements along k of a block of rows.
template <class Kind, int Rows>
struct Record {
  uint32_t x[Kind::kSteps][Rows];
  int32_t start[Rows];  // what the sums of a row begin with
  float scale[Rows];
};

// One row's share of a record.
template <class Kind>
constexpr int64_t kRowBytes = sizeof(Record<Kind, 1>);

// Weights straight from the model.
template <class Kind>
struct Packed {
  static constexpr int64_t kBlockBytes = Kind::kBlockBytes;
  static constexpr int64_t kSlice = 32;  // blocks that stay in the first cache for all rows
  static constexpr int64_t kAhead = 2048;

  static Integers load(const uint8_t* data, int step, int p) { return Kind::unpack(data, step, p); }
  // Panels are too short a run for the CPU to notice. Past the end of the weights nothing happens.
  static void ask(const uint8_t* data) {
    for (int64_t line = 0; line < kBlockBytes; line += 64) prefetch(data + kAhead + line);
  }
  static const uint8_t* slice(const uint8_t* data, int64_t) { return data; }
  static void ask_next(int64_t, int64_t) {}
};

// Weights unpacked to a buffer, a slice at a time, for a Kind to which that is worth it.
template <class Kind>
struct Unpacked {
  static constexpr int64_t kBlockBytes = Kind::kSteps * kPanel * 4;
  static constexpr int64_t kSlice = 256 / Kind::kSteps;  // 16 KiB

  alignas(64) uint8_t buffer[kSlice * kBlockBytes];
  const uint8_t* next = nullptr;  // weights of the next slice: panels lie one after the other

  static Integers load(const uint8_t* data, int step, int p) {
    return load_words(data + (step * kParts + p) * kLanes * 4);
  }
  static void ask(const uint8_t*) {}
  const uint8_t* slice(const uint8_t* data, int64_t blocks) {
    uint8_t* to = buffer;
    for (int64_t i = 0; i < blocks; ++i, data += Kind::kBlockBytes) {
#pragma GCC unroll 16
      for (int step = 0; step < Kind::kSteps; ++step) {
#pragma GCC unroll 4
        for (int p = 0; p < kParts; ++p, to += kLanes * 4) {
          store_words(to, Kind::unpack(data, step, p));
        }
      }
    }
    next = data;
    return buffer;
  }
  // Asks for the next slice bit by bit, while rows are multiplied.
  void ask_next(int64_t part, int64_t parts) const {
    constexpr int64_t kBytes = kSlice * Kind::kBlockBytes;
    const int64_t end = kBytes * (part + 1) / parts / 64;
    for (int64_t i = kBytes * part / parts / 64; i < end; ++i) prefetch_far(next + i * 64);
  }
};

// How far one panel's weights, scales and sums are from the next one's.
struct Strides {
  int64_t data, scales, sums;
};

// `blocks` blocks of 32 k of some panels: sums [Rows][16] of each += x . w. A word of a row is
// loaded once for all of them.
template <class Kind, template <class> class Source, int Panels, int Rows>
void integer_tile(const void* x, const uint8_t* data, const uint16_t* scales, int64_t blocks,
                  float* sums, const Strides& strides) {
  using Weights = Source<Kind>;
  constexpr int kVectors = Panels * kParts;
  const auto* record = static_cast<const Record<Kind, Rows>*>(x);
  for (int64_t i = 0; i < blocks; ++i, ++record) {
    for (int q = 0; q < Panels; ++q) Weights::ask(data + q * strides.data);
    typename Kind::Sum sum[Rows][kVectors];
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sum[r][v] = Kind::start(record->start[r]);
    }
    typename Kind::Shared shared[kVectors] = {};
#pragma GCC unroll 16
    for (int step = 0; step < Kind::kSteps; ++step) {
      Integers w[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        w[v] = Weights::load(data + v / kParts * strides.data, step, v % kParts);
        Kind::share(shared[v], w[v], step);
      }
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) {
        const auto value = Kind::row(record->x[step][r]);
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) Kind::multiply(sum[r][v], w[v], value, step);
      }
    }
    Vec scale[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      scale[v] = load_half(scales + v / kParts * strides.scales + v % kParts * kLanes);
    }
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const Vec of_row = splat(record->scale[r]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        float* to = sums + v / kParts * strides.sums + r * kPanel + v % kParts * kLanes;
        const Vec total = to_floats(Kind::total(sum[r][v], shared[v]));
        store(to, fma(mul(of_row, scale[v]), total, load(to)));
      }
    }
    data += Weights::kBlockBytes;
    scales += kPanel;
  }
}

using IntegerTile = void (*)(const void*, const uint8_t*, const uint16_t*, int64_t, float*,
                             const Strides&);

template <class Kind, template <class> class Source, int Panels, int... R>
constexpr ByRows<IntegerTile, sizeof...(R)> integer_tiles(std::integer_sequence<int, R...>) {
  return {{integer_tile<Kind, Source, Panels, R + 1>...}};
}

template <class Kind, template <class> class Source, int Panels>
void accumulate_slices(const LinearCall& call, int64_t panel, const Group& group, float* sums) {
  static constexpr auto tiles =
      integer_tiles<Kind, Source, Panels>(std::make_integer_sequence<int, kIntegerRows>());
  constexpr int64_t kSlice = Source<Kind>::kSlice / Panels;
  const LinearWeight& w = call.weight;
  const int64_t blocks = (w.k + kBlock - 1) / kBlock;
  const Strides strides{blocks * Kind::kBlockBytes, blocks * kPanel, group.rows * kPanel};
  const auto* data = static_cast<const uint8_t*>(w.data) + panel * strides.data;
  const uint16_t* scales = w.scales + panel * strides.scales;
  Source<Kind> source;
  for (int64_t first = 0; first < blocks; first += kSlice) {
    const int64_t count = least(kSlice, blocks - first);
    const uint8_t* slice = source.slice(data + first * Kind::kBlockBytes, count);
    for (int64_t b = group.begin; b < group.end; ++b) {
      source.ask_next(b - group.begin, group.end - group.begin);
      const int64_t start = block_start(group.split, b);
      const int64_t rows = block_rows(group.split, b);
      const auto* x = static_cast<const uint8_t*>(call.packed) +
                      (start * blocks + first * rows) * kRowBytes<Kind>;
      tiles[rows](x, slice, scales + first * kPanel, count, sums + (start - group.first) * kPanel,
                  strides);
    }
  }
}

template <class Kind>
void accumulate_panel(const LinearCall& call, int64_t panel, const Group& group, float* sums) {
  if constexpr (Kind::kUnpacksOnce) {
    // Unpacking twice is cheaper than a buffer.
    if (group.end - group.begin > 2) {
      return accumulate_slices<Kind, Unpacked, 1>(call, panel, group, sums);
    }
  }
  accumulate_slices<Kind, Packed, 1>(call, panel, group, sums);
}

template <class Kind>
void accumulate_panels(const LinearCall& call, int64_t panel, int64_t panels, const Group& group) {
  int64_t p = 0;
  if constexpr (kIntegerPanels > 1) {
    for (; p + kIntegerPanels <= panels; p += kIntegerPanels) {
      accumulate_slices<Kind, Packed, kIntegerPanels>(call, panel + p, group,
                                                      group.sums + p * group.rows * kPanel);
    }
  }
  for (; p < panels; ++p) {
    accumulate_panel<Kind>(call, panel + p, group, group.sums + p * group.rows * kPanel);
  }
}

template <class Kind, int Rows>
void pack_block(const LinearInput& input, const float* x, void* packed) {
  auto* record = static_cast<Record<Kind, Rows>*>(packed);
  const float levels = integer_levels(input.format);
  for (int64_t k = 0; k < input.k; k += kBlock, ++record) {
    const int64_t count = least(kBlock, input.k - k);
    for (int r = 0; r < Rows; ++r) {
      const float* from = x + r * input.k + k;
      const IntegerScale scale = integer_scale(largest_magnitude(from, count), levels);
      Integers integers[kBlock / kLanes];
      round_elements(from, count, scale.inverse, integers);
      uint32_t words[Kind::kSteps];
      record->start[r] = Kind::pack(integers, words);
      record->scale[r] = scale.scale;
      for (int step = 0; step < Kind::kSteps; ++step) record->x[step][r] = words[step];
    }
  }
}

using PackBlock = void (*)(const LinearInput&, const float*, void*);

template <class Kind, int... R>
constexpr ByRows<PackBlock, sizeof...(R)> block_packers(std::integer_sequence<int, R...>) {
  return {{pack_block<Kind, R + 1>...}};
}

template <class Kind>
void pack_kind(const LinearInput& input, const Split& split, const float* x, int64_t begin,
               int64_t end, uint8_t* packed) {
  static constexpr auto pack = block_packers<Kind>(std::make_integer_sequence<int, kIntegerRows>());
  const int64_t blocks = (input.k + kBlock - 1) / kBlock;
  for (int64_t b = begin; b < end; ++b) {
    const int64_t start = block_start(split, b);
    pack[block_rows(split, b)](input, x + start * input.k,
                               packed + start * blocks * kRowBytes<Kind>);
  }
}

size_t integer_bytes(const LinearInput& input) {
  const int64_t blocks = (input.k + kBlock - 1) / kBlock;
  const int64_t row = input.format == WeightFormat::kInt4 ? kRowBytes<Int4> : kRowBytes<Int8>;
  return static_cast<size_t>(input.rows * blocks * row);
}

void pack_integers(const LinearInput& input, const Split& split, const float* x, int64_t begin,
                   int64_t end, void* packed) {
  const auto pack = input.format == WeightFormat::kInt4 ? pack_kind<Int4> : pack_kind<Int8>;
  pack(input, split, x, begin, end, static_cast<uint8_t*>(packed));
}

void accumulate_integers(const LinearCall& call, int64_t panel, int64_t panels,
                         const Group& group) {
  const auto accumulate =
      call.weight.format == WeightFormat::kInt4 ? accumulate_panels<Int4> : accumulate_panels<Int8>;
  accumulate(call, panel, panels, group);
}

}  // namespace
}  // namespace stepguard::STEPGUARD_TABLE
