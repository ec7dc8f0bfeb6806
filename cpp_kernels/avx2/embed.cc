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
  __m256 sums[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                    _mm256_setzero_ps()};
  for (int64_t i = 0; i < width; i += 4 * kLanes) {
    for (int64_t j = 0; j < 4; ++j) {
      const int64_t at = i + j * kLanes;
      if (at >= width) break;
      sums[j] = _mm256_fmadd_ps(load_part(x + at, width - at), row.lanes(at), sums[j]);
    }
  }
  return sum_lanes(_mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3])));
}

}  // namespace stepguard::avx2
