// Norm and rotation of q and k, and what of a row goes into a page.
#pragma once

#include "vector/norm.h"
#include "vector/page.h"

namespace stepguard::STEPGUARD_TABLE {
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
    const Vec c = load_part(cos + i, count);
    const Vec s = load_part(sin + i, count);
    const Vec a = load_part(x + i, count);
    const Vec b = load_part(x + half + i, count);
    store_part(y + i, difference(a, c, b, s), count);
    store_part(y + half + i, fma(b, c, mul(a, s)), count);
  }
  for (int64_t i = 2 * half; i < dim; ++i) y[i] = x[i];
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
    store_half(part, load_part(row + i, count));
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

}  // namespace stepguard::STEPGUARD_TABLE
