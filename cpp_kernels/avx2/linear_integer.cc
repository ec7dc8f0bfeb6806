// Rows rounded to integers and weights as they are. For every 32 along k a column has one integer
// sum, exact whatever the order, and then one multiply-add in float32: the float32 chain is the
// only order there is, the same in every tile.
//
// A step is one 32-bit word of a row times the same word of 16 columns: 4 k of int4 weights, 2 k of
// int8 weights. Weights are unpacked to even and odd nibbles or bytes, which is cheaper than their
// own order; packing puts the rows into the same order. The steps are inline assembly because gcc
// 12 moves all products of an unrolled block before the additions, and then spills them.
#include "avx2/linear_rows.h"
#include "integer_rows.h"

namespace stepguard::avx2 {
namespace {

// int4 times 8 bits. Nibbles are the weights + 8, so 8 sum(x) is subtracted, before the products:
// every partial sum of 16 products then fits 16 bits, at most 16 * 8 * 127.
struct Int4 {
  static constexpr int kSteps = 8;
  static constexpr int64_t kBlockBytes = kBlock * kPanel / 2;
  static constexpr int64_t kSlice = 1024;  // k of one panel in the buffer: 16 KiB

  template <int Rows>
  struct Record {
    uint32_t x[kSteps][Rows];
    uint32_t start[Rows];  // -8 sum(x), for the two 16-bit sums of a column
    float scale[Rows];
  };

  template <int Rows>
  static __m256i start(const Record<Rows>& record, int row) {
    return _mm256_set1_epi32(static_cast<int32_t>(record.start[row]));
  }
  // The weights of step `step` for columns 8 * half..: nibbles 0, 2, 4, 6 of 8 k, then 1, 3, 5, 7.
  static __m256i unpack(const uint8_t* data, int step, int half) {
    const uint8_t* at = data + (step / 2 * 2 + half) * 32;
    __m256i word = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
    if (step % 2 == 1) word = _mm256_srli_epi16(word, 4);
    return _mm256_and_si256(word, _mm256_set1_epi8(15));
  }
  static void multiply(const uint32_t& x, __m256i low, __m256i high, __m256i& a, __m256i& b) {
    __m256i value, product;
    asm volatile(
        "vpbroadcastd %[x], %[value]\n\t"
        "vpmaddubsw %[value], %[low], %[product]\n\t"
        "vpmaddubsw %[value], %[high], %[value]\n\t"
        "vpaddw %[product], %[a], %[a]\n\t"
        "vpaddw %[value], %[b], %[b]"
        : [a] "+x"(a), [b] "+x"(b), [value] "=&x"(value), [product] "=&x"(product)
        : [low] "x"(low), [high] "x"(high), [x] "m"(x));
  }
  static __m256 total(__m256i sums) {
    return _mm256_cvtepi32_ps(_mm256_madd_epi16(sums, _mm256_set1_epi16(1)));
  }
};

// int8 times 16 bits: at most 32 * 128 * 32767 in a sum of 32 bits.
struct Int8 {
  static constexpr int kSteps = 16;
  static constexpr int64_t kBlockBytes = kBlock * kPanel;
  static constexpr int64_t kSlice = 512;

  template <int Rows>
  struct Record {
    uint32_t x[kSteps][Rows];
    float scale[Rows];
  };

  template <int Rows>
  static __m256i start(const Record<Rows>&, int) {
    return _mm256_setzero_si256();
  }
  // Bytes 0 and 2 of 4 k as 16 bits, then 1 and 3.
  static __m256i unpack(const uint8_t* data, int step, int half) {
    const uint8_t* at = data + (step / 2 * 2 + half) * 32;
    __m256i word = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
    if (step % 2 == 0) word = _mm256_slli_epi16(word, 8);
    return _mm256_srai_epi16(word, 8);
  }
  static void multiply(const uint32_t& x, __m256i low, __m256i high, __m256i& a, __m256i& b) {
    __m256i value, product;
    asm volatile(
        "vpbroadcastd %[x], %[value]\n\t"
        "vpmaddwd %[value], %[low], %[product]\n\t"
        "vpmaddwd %[value], %[high], %[value]\n\t"
        "vpaddd %[product], %[a], %[a]\n\t"
        "vpaddd %[value], %[b], %[b]"
        : [a] "+x"(a), [b] "+x"(b), [value] "=&x"(value), [product] "=&x"(product)
        : [low] "x"(low), [high] "x"(high), [x] "m"(x));
  }
  static __m256 total(__m256i sums) { return _mm256_cvtepi32_ps(sums); }
};

// Weights straight from the model, for a single block of rows.
template <class Kind>
struct Packed {
  static constexpr int64_t kBlockBytes = Kind::kBlockBytes;
  static constexpr int64_t kAhead = 2048;

  static __m256i load(const uint8_t* data, int step, int half) {
    return Kind::unpack(data, step, half);
  }
  // Panels are too short a run for the CPU to notice. Past the end of the weights nothing happens.
  static void prefetch(const uint8_t* data) {
    const auto* ahead = reinterpret_cast<const char*>(data) + kAhead;
    for (int64_t i = 0; i < kBlockBytes; i += 64) _mm_prefetch(ahead + i, _MM_HINT_T0);
  }
};

// Weights that were unpacked to a buffer, for several.
template <class Kind>
struct Unpacked {
  static constexpr int64_t kBlockBytes = Kind::kSteps * 64;

  static __m256i load(const uint8_t* data, int step, int half) {
    const uint8_t* at = data + (step * 2 + half) * 32;
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(at));
  }
  static void prefetch(const uint8_t*) {}
};

// `blocks` blocks of 32 k of a panel: sums [Rows][16] += x . w.
template <class Kind, template <class> class Source, int Rows>
void tile(const void* x, const uint8_t* data, const uint16_t* scales, int64_t blocks, float* sums) {
  using Weights = Source<Kind>;
  const auto* record = static_cast<const typename Kind::template Record<Rows>*>(x);
  for (int64_t i = 0; i < blocks; ++i, ++record) {
    Weights::prefetch(data);
    __m256i low[Rows];
    __m256i high[Rows];
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) low[r] = high[r] = Kind::start(*record, r);
#pragma GCC unroll 16
    for (int step = 0; step < Kind::kSteps; ++step) {
      __m256i first = Weights::load(data, step, 0);
      __m256i second = Weights::load(data, step, 1);
      asm volatile("" : "+x"(first), "+x"(second));  // loaded once, not once a row
#pragma GCC unroll 4
      for (int r = 0; r < Rows; ++r) {
        Kind::multiply(record->x[step][r], first, second, low[r], high[r]);
      }
    }
    const __m256 low_scale = load_half(scales);
    const __m256 high_scale = load_half(scales + kLanes);
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) {
      const __m256 scale = _mm256_broadcast_ss(record->scale + r);
      float* sum = sums + r * kPanel;
      const __m256 a = _mm256_fmadd_ps(_mm256_mul_ps(scale, low_scale), Kind::total(low[r]),
                                       _mm256_loadu_ps(sum));
      const __m256 b = _mm256_fmadd_ps(_mm256_mul_ps(scale, high_scale), Kind::total(high[r]),
                                       _mm256_loadu_ps(sum + kLanes));
      _mm256_storeu_ps(sum, a);
      _mm256_storeu_ps(sum + kLanes, b);
    }
    data += Weights::kBlockBytes;
    scales += kPanel;
  }
}

using Tile = void (*)(const void*, const uint8_t*, const uint16_t*, int64_t, float*);

template <class Kind, template <class> class Source>
Tile pick_tile(int64_t rows) {
  static constexpr Tile tiles[] = {tile<Kind, Source, 1>, tile<Kind, Source, 2>,
                                   tile<Kind, Source, 3>, tile<Kind, Source, 4>};
  return tiles[rows - 1];
}

template <class Kind>
void unpack_slice(const uint8_t* data, int64_t blocks, uint8_t* buffer) {
  for (int64_t i = 0; i < blocks; ++i, data += Kind::kBlockBytes) {
#pragma GCC unroll 16
    for (int step = 0; step < Kind::kSteps; ++step, buffer += 64) {
      for (int half = 0; half < 2; ++half) {
        _mm256_store_si256(reinterpret_cast<__m256i*>(buffer) + half,
                           Kind::unpack(data, step, half));
      }
    }
  }
}

// Bytes of a record without its arrays' sizes in rows: one row's share.
template <class Kind>
constexpr int64_t kRowBytes = sizeof(typename Kind::template Record<1>);

// The weights that come next, asked for bit by bit while rows are multiplied. Panels lie one after
// the other; past the end of the weights nothing happens.
struct Ahead {
  const uint8_t* data;
  int64_t bytes;

  void ask(int64_t part, int64_t parts) const {
    const auto* from = reinterpret_cast<const char*>(data);
    for (int64_t i = bytes * part / parts / 64; i < bytes * (part + 1) / parts / 64; ++i) {
      _mm_prefetch(from + i * 64, _MM_HINT_T1);
    }
  }
};

template <class Kind>
void accumulate_panel(const LinearCall& call, int64_t panel, const Group& group, float* sums) {
  alignas(64) uint8_t buffer[Kind::kSlice / kBlock * Unpacked<Kind>::kBlockBytes];
  const LinearWeight& w = call.weight;
  const int64_t blocks = (w.k + kBlock - 1) / kBlock;
  const auto* data = static_cast<const uint8_t*>(w.data) + panel * blocks * Kind::kBlockBytes;
  const uint16_t* scales = w.scales + panel * blocks * kPanel;
  const auto* x = static_cast<const uint8_t*>(call.packed);
  const auto rows_at = [&](int64_t b) {
    return x + block_start(group.split, b) * blocks * kRowBytes<Kind>;
  };
  if (group.end - group.begin <= 2) {  // unpacking twice is cheaper than a buffer
    for (int64_t b = group.begin; b < group.end; ++b) {
      pick_tile<Kind, Packed>(block_rows(group.split, b))(
          rows_at(b), data, scales, blocks,
          sums + (block_start(group.split, b) - group.first) * kPanel);
    }
    return;
  }
  constexpr int64_t kStep = Kind::kSlice / kBlock;
  for (int64_t first = 0; first < blocks; first += kStep) {
    const int64_t count = least(kStep, blocks - first);
    const uint8_t* slice = data + first * Kind::kBlockBytes;
    unpack_slice<Kind>(slice, count, buffer);
    const Ahead ahead{slice + count * Kind::kBlockBytes, kStep * Kind::kBlockBytes};
    for (int64_t b = group.begin; b < group.end; ++b) {
      ahead.ask(b - group.begin, group.end - group.begin);
      const int64_t rows = block_rows(group.split, b);
      pick_tile<Kind, Unpacked>(rows)(rows_at(b) + first * rows * kRowBytes<Kind>, buffer,
                                      scales + first * kPanel, count,
                                      sums + (block_start(group.split, b) - group.first) * kPanel);
    }
  }
}

// Up to 32 elements of a row as floats, zeros behind them.
struct Elements {
  __m256 part[4];

  Elements(const float* x, int64_t count) {
    for (int i = 0; i < 4; ++i) {
      const int64_t left = count - i * kLanes;
      part[i] = left > 0 ? load_part(x + i * kLanes, left) : _mm256_setzero_ps();
    }
  }
  // The bits of the largest magnitude; as integers NaN and Inf are larger than numbers.
  uint32_t magnitude() const {
    const __m256i bits = _mm256_set1_epi32(0x7FFFFFFF);
    __m256i most = _mm256_setzero_si256();
    for (const __m256& value : part) {
      most = _mm256_max_epi32(most, _mm256_and_si256(_mm256_castps_si256(value), bits));
    }
    __m128i four = _mm_max_epi32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
    four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4E));
    four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0xB1));
    return static_cast<uint32_t>(_mm_cvtsi128_si32(four));
  }
  // Part i times `inverse` as 32-bit integers; zeros where `inverse` is 0, also of NaN.
  __m256i integers(int i, float inverse) const {
    const __m256 factor = _mm256_set1_ps(inverse);
    const __m256 used = _mm256_cmp_ps(factor, _mm256_setzero_ps(), _CMP_NEQ_OQ);
    return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_and_ps(part[i], used), factor));
  }
};

// 32 elements as bytes, in order: packing mixes the halves of its inputs.
__m256i to_bytes(const Elements& elements, float inverse) {
  const __m256i first =
      _mm256_packs_epi32(elements.integers(0, inverse), elements.integers(1, inverse));
  const __m256i second =
      _mm256_packs_epi32(elements.integers(2, inverse), elements.integers(3, inverse));
  return _mm256_permutevar8x32_epi32(_mm256_packs_epi16(first, second),
                                     _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

template <int Rows>
void pack_row(const Elements& elements, float levels, int row, Int4::Record<Rows>& record) {
  const IntegerScale scale = integer_scale(elements.magnitude(), levels);
  const __m256i order = _mm256_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15,  //
                                         0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15);
  const __m256i bytes = _mm256_shuffle_epi8(to_bytes(elements, scale.inverse), order);
  alignas(32) uint32_t words[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(words), bytes);
  for (int step = 0; step < 8; ++step) record.x[step][row] = words[step];
  // A word's first two bytes go to one 16-bit sum, the others to the other.
  __m256i sums = _mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes);
  __m128i four = _mm_add_epi16(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
  four = _mm_add_epi16(four, _mm_shuffle_epi32(four, 0x4E));
  four = _mm_add_epi16(four, _mm_shuffle_epi32(four, 0xB1));
  four = _mm_sub_epi16(_mm_setzero_si128(), _mm_slli_epi16(four, 3));
  record.start[row] = static_cast<uint32_t>(_mm_cvtsi128_si32(four));
  record.scale[row] = scale.scale;
}

template <int Rows>
void pack_row(const Elements& elements, float levels, int row, Int8::Record<Rows>& record) {
  const IntegerScale scale = integer_scale(elements.magnitude(), levels);
  alignas(32) int32_t values[kBlock];
  for (int i = 0; i < 4; ++i) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(values) + i, elements.integers(i, scale.inverse));
  }
  for (int step = 0; step < 16; ++step) {
    const int32_t* pair = values + step / 2 * 4 + step % 2;
    record.x[step][row] = static_cast<uint32_t>(pair[0] & 0xFFFF) | static_cast<uint32_t>(pair[2])
                                                                        << 16;
  }
  record.scale[row] = scale.scale;
}

template <class Kind, int Rows>
void pack_block(const LinearInput& input, const float* x, void* packed) {
  auto* record = static_cast<typename Kind::template Record<Rows>*>(packed);
  const float levels = integer_levels(input.format);
  for (int64_t k = 0; k < input.k; k += kBlock, ++record) {
    for (int r = 0; r < Rows; ++r) {
      pack_row<Rows>(Elements(x + r * input.k + k, input.k - k), levels, r, *record);
    }
  }
}

template <class Kind>
void pack_kind(const LinearInput& input, const Split& split, const float* x, int64_t begin,
               int64_t end, uint8_t* packed) {
  static constexpr decltype(&pack_block<Kind, 1>) pack[] = {
      pack_block<Kind, 1>, pack_block<Kind, 2>, pack_block<Kind, 3>, pack_block<Kind, 4>};
  const int64_t blocks = (input.k + kBlock - 1) / kBlock;
  for (int64_t b = begin; b < end; ++b) {
    const int64_t start = block_start(split, b);
    pack[block_rows(split, b) - 1](input, x + start * input.k,
                                   packed + start * blocks * kRowBytes<Kind>);
  }
}

}  // namespace

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
      call.weight.format == WeightFormat::kInt4 ? accumulate_panel<Int4> : accumulate_panel<Int8>;
  for (int64_t p = 0; p < panels; ++p) {
    accumulate(call, panel + p, group, group.sums + p * group.rows * kPanel);
  }
}

}  // namespace stepguard::avx2
