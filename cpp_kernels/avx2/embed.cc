#include "avx2/table.h"
#include "avx2/vec.h"

namespace stepguard::avx2 {
namespace {

// Up to 8 bytes as floats; memory behind them is not touched.
__m256 load_bytes(const int8_t* from, int64_t count) {
  __m128i bytes;
  if (count >= kLanes) {
    bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
  } else {
    alignas(16) int8_t part[16] = {};
    for (int64_t i = 0; i < count; ++i) part[i] = from[i];
    bytes = _mm_load_si128(reinterpret_cast<const __m128i*>(part));
  }
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
}

// Lanes i..i+7 of a row: scale * int8 (exact in float32), or the float32 itself.
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
  __m256 lanes(int64_t i) const {
    if (floats_ != nullptr) return load_part(floats_ + i, width_ - i);
    const __m128i half = _mm_set1_epi16(static_cast<int16_t>(scales_[i / kBlock]));
    return _mm256_mul_ps(_mm256_cvtph_ps(half), load_bytes(bytes_ + i, width_ - i));
  }
  // Lanes i..i+31, all of them inside the row: the same, with one look at their scale.
  void block(int64_t i, __m256 out[4]) const {
    if (floats_ != nullptr) {
      for (int64_t j = 0; j < 4; ++j) out[j] = _mm256_loadu_ps(floats_ + i + j * kLanes);
      return;
    }
    const __m256 scale = _mm256_cvtph_ps(_mm_set1_epi16(static_cast<int16_t>(scales_[i / kBlock])));
    for (int64_t j = 0; j < 4; ++j) {
      const auto* from = reinterpret_cast<const __m128i*>(bytes_ + i + j * kLanes);
      out[j] =
          _mm256_mul_ps(scale, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from))));
    }
  }

 private:
  int64_t width_;
  const float* floats_ = nullptr;
  const int8_t* bytes_ = nullptr;
  const uint16_t* scales_ = nullptr;
};

// Dot products of kRows rows of x with one row of a table, each summed in the same order:
// y[r * stride].
template <int kRows>
void dots(const float* x, const TableRow& row, int64_t width, float* y, int64_t stride) {
  __m256 sums[kRows][4];
  for (auto& four : sums) {
    for (__m256& sum : four) sum = _mm256_setzero_ps();
  }
  static_assert(4 * kLanes == kBlock, "a block has one scale");
  int64_t i = 0;
  for (; i + kBlock <= width; i += kBlock) {
    __m256 lanes[4];
    row.block(i, lanes);
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t j = 0; j < 4; ++j) {
        const __m256 part = _mm256_loadu_ps(x + r * width + i + j * kLanes);
        sums[r][j] = _mm256_fmadd_ps(part, lanes[j], sums[r][j]);
      }
    }
  }
  for (int64_t j = 0; i + j * kLanes < width; ++j) {
    const int64_t at = i + j * kLanes;
    const __m256 lanes = row.lanes(at);
    for (int64_t r = 0; r < kRows; ++r) {
      sums[r][j] = _mm256_fmadd_ps(load_part(x + r * width + at, width - at), lanes, sums[r][j]);
    }
  }
  for (int64_t r = 0; r < kRows; ++r) {
    const __m256* four = sums[r];
    y[r * stride] =
        sum_lanes(_mm256_add_ps(_mm256_add_ps(four[0], four[1]), _mm256_add_ps(four[2], four[3])));
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

void read_rows(const float* x, int64_t rows, int64_t begin, int64_t end, const void* table,
               const uint16_t* scales, int64_t width, float* y) {
  const int64_t count = end - begin;
  for (int64_t id = begin; id < end; ++id) {
    const TableRow row(id, table, scales, width);
    int64_t r = 0;
    for (; r + 2 <= rows; r += 2) dots<2>(x + r * width, row, width, y + r * count, count);
    if (r < rows) dots<1>(x + r * width, row, width, y + r * count, count);
    ++y;
  }
}

}  // namespace stepguard::avx2
