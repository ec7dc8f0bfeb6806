#include <cmath>

#include "reference/table.h"

namespace stepguard::reference {
namespace {

float load(const void* plane, bool half, int64_t index) {
  return half ? half_to_float(static_cast<const uint16_t*>(plane)[index])
              : static_cast<const float*>(plane)[index];
}

void store(void* plane, bool half, int64_t index, float value) {
  if (half) {
    static_cast<uint16_t*>(plane)[index] = float_to_half(value);
  } else {
    static_cast<float*>(plane)[index] = value;
  }
}

int64_t head_bytes(const AttentionShape& shape) { return shape.page_bytes() / shape.kv_heads; }

// RMS norm (when `norm` is given), then rotation of the first rotary_dim elements, half split.
void norm_and_rotate(const AttentionShape& shape, const float* x, const float* norm,
                     const float* cos, const float* sin, float* y) {
  double value[kMaxHeadDim];
  double squares = 0.0;
  for (int64_t d = 0; d < shape.head_dim; ++d) squares += double{x[d]} * x[d];
  const double inverse =
      1.0 / std::sqrt(squares / static_cast<double>(shape.head_dim) + shape.epsilon);
  for (int64_t d = 0; d < shape.head_dim; ++d) {
    value[d] = x[d];
    if (norm != nullptr) value[d] *= inverse * (double{shape.norm_offset} + norm[d]);
    y[d] = static_cast<float>(value[d]);
  }
  const int64_t half = shape.rotary_dim / 2;
  for (int64_t i = 0; i < half; ++i) {
    y[i] = static_cast<float>(value[i] * cos[i] - value[i + half] * sin[i]);
    y[i + half] = static_cast<float>(value[i + half] * cos[i] + value[i] * sin[i]);
  }
}

// One query against the keys 0..position of one kv head.
class Keys {
 public:
  Keys(const AttentionShape& shape, const int32_t* pages, const void* arena, int64_t kv_head)
      : shape_(shape), pages_(pages), arena_(static_cast<const uint8_t*>(arena)), head_(kv_head) {}

  void attend(const float* q, int64_t position, float* out) const {
    double top = -INFINITY;
    for (int64_t key = 0; key <= position; ++key) top = std::fmax(top, score(q, key));
    double total = 0.0;
    double sum[kMaxHeadDim] = {};
    for (int64_t key = 0; key <= position; ++key) {
      const double p = std::exp(score(q, key) - top);
      total += p;
      for (int64_t d = 0; d < shape_.head_dim; ++d) sum[d] += p * value(key, d);
    }
    for (int64_t d = 0; d < shape_.head_dim; ++d) out[d] = static_cast<float>(sum[d] / total);
  }

 private:
  const uint8_t* plane(int64_t key, bool values) const {
    const int64_t bytes = head_bytes(shape_);
    return arena_ + pages_[key / kPage] * shape_.page_bytes() + head_ * bytes +
           (values ? bytes / 2 : 0);
  }
  double score(const float* q, int64_t key) const {
    const uint8_t* keys = plane(key, false);
    double sum = 0.0;
    for (int64_t d = 0; d < shape_.head_dim; ++d) {
      sum += double{q[d]} * load(keys, shape_.kv_half, d * kPage + key % kPage);
    }
    return sum * shape_.scale;
  }
  double value(int64_t key, int64_t d) const {
    return load(plane(key, true), shape_.kv_half, key % kPage * shape_.head_dim + d);
  }

  const AttentionShape& shape_;
  const int32_t* pages_;
  const uint8_t* arena_;
  int64_t head_;
};

}  // namespace

void attention_prepare(const AttentionShape& shape, const float* qkv, const float* cos,
                       const float* sin, int64_t head_begin, int64_t head_end, float* q_out,
                       void* page, int64_t slot) {
  const int64_t dim = shape.head_dim;
  const int64_t group = shape.heads / shape.kv_heads;
  for (int64_t head = head_begin * group; head < head_end * group; ++head) {
    norm_and_rotate(shape, qkv + head * dim, shape.q_norm, cos, sin, q_out + head * dim);
  }
  const float* keys = qkv + shape.heads * dim;
  const float* values = keys + shape.kv_heads * dim;
  float key[kMaxHeadDim];
  for (int64_t head = head_begin; head < head_end; ++head) {
    norm_and_rotate(shape, keys + head * dim, shape.k_norm, cos, sin, key);
    uint8_t* k_plane = static_cast<uint8_t*>(page) + head * head_bytes(shape);
    uint8_t* v_plane = k_plane + head_bytes(shape) / 2;
    for (int64_t d = 0; d < dim; ++d) {
      store(k_plane, shape.kv_half, d * kPage + slot, key[d]);
      store(v_plane, shape.kv_half, slot * dim + d, values[head * dim + d]);
    }
  }
}

void attention(const AttentionShape& shape, const float* q, int64_t position, int64_t rows,
               const int32_t* pages, const void* arena, int64_t kv_head, float* out) {
  const int64_t group = shape.heads / shape.kv_heads;
  const Keys keys(shape, pages, arena, kv_head);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      const int64_t at = (r * shape.heads + head) * shape.head_dim;
      keys.attend(q + at, position + r, out + at);
    }
  }
}

}  // namespace stepguard::reference
