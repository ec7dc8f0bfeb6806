#include "avx2/page.h"
#include "avx2/table.h"

namespace stepguard::avx2 {
namespace {

// Norm (when `norm` is given), then rotation of the first rotary_dim elements, half split.
void norm_and_rotate(const AttentionShape& shape, const float* x, const float* norm,
                     const float* cos, const float* sin, float* y) {
  const int64_t dim = shape.head_dim;
  const int64_t half = shape.rotary_dim / 2;
  float normed[kMaxHeadDim];
  if (norm != nullptr) {
    scale_row(x, norm, inverse_rms(x, dim, shape.epsilon), shape.norm_offset, dim, normed);
    x = normed;
  }
  for (int64_t i = 0; i < half; i += kLanes) {
    const int64_t count = half - i;
    const __m256 c = load_part(cos + i, count);
    const __m256 s = load_part(sin + i, count);
    const __m256 a = load_part(x + i, count);
    const __m256 b = load_part(x + half + i, count);
    store_part(y + i, _mm256_fmsub_ps(a, c, _mm256_mul_ps(b, s)), count);
    store_part(y + half + i, _mm256_fmadd_ps(b, c, _mm256_mul_ps(a, s)), count);
  }
  for (int64_t i = 2 * half; i < dim; ++i) y[i] = x[i];
}

// Eight floats rounded to half; `part` takes them where fewer than eight fit.
void round_half(__m256 value, uint16_t* part) {
  const __m128i half = _mm256_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(part), half);
}

// Element i of a row goes to to[i * stride].
void store_row(const AttentionShape& shape, const float* row, uint8_t* to, int64_t stride) {
  auto* floats = reinterpret_cast<float*>(to);
  auto* halves = reinterpret_cast<uint16_t*>(to);
  for (int64_t i = 0; i < shape.head_dim; i += kLanes) {
    const int64_t count = least(kLanes, shape.head_dim - i);
    if (!shape.kv_half) {
      for (int64_t j = i; j < i + count; ++j) floats[j * stride] = row[j];
      continue;
    }
    uint16_t part[kLanes];
    round_half(load_part(row + i, count), part);
    for (int64_t j = 0; j < count; ++j) halves[(i + j) * stride] = part[j];
  }
}

}  // namespace

void attention_prepare(const AttentionShape& shape, const float* qkv, const float* cos,
                       const float* sin, int64_t head_begin, int64_t head_end, float* q_out,
                       void* page, int64_t slot) {
  const int64_t dim = shape.head_dim;
  const int64_t group = shape.heads / shape.kv_heads;
  const int64_t element = shape.kv_half ? 2 : 4;
  for (int64_t head = head_begin * group; head < head_end * group; ++head) {
    norm_and_rotate(shape, qkv + head * dim, shape.q_norm, cos, sin, q_out + head * dim);
  }
  const float* keys = qkv + shape.heads * dim;
  const float* values = keys + shape.kv_heads * dim;
  float key[kMaxHeadDim];
  for (int64_t head = head_begin; head < head_end; ++head) {
    uint8_t* plane = static_cast<uint8_t*>(page) + 2 * head * plane_bytes(shape);
    norm_and_rotate(shape, keys + head * dim, shape.k_norm, cos, sin, key);
    store_row(shape, key, plane + slot * element, kPage);
    store_row(shape, values + head * dim, plane + plane_bytes(shape) + slot * dim * element, 1);
  }
}

}  // namespace stepguard::avx2
