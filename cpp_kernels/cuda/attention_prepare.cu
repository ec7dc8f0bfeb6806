// Before attention: rotary factors, norms, rotation, and keys and values on their way into pages.
#include "device.h"

namespace stepguard::cuda {
namespace {

constexpr int kThreads = 64;

SG_KERNEL rotary_factors(const int32_t* positions, const float* inv_freq, int64_t half, float* cos_,
                         float* sin_) {
  const int64_t row = block_index();
  SG_THREADS(t) {
    for (int64_t i = t; i < half; i += kThreads) {
      // The angle is a float32 product, as in the implementations that trained the models.
      const double angle = static_cast<float>(positions[row]) * inv_freq[i];
      cos_[row * half + i] = static_cast<float>(cos(angle));
      sin_[row * half + i] = static_cast<float>(sin(angle));
    }
  }
}

// Element d after rotation of the first rotary_dim elements, half split.
SG_DEVICE float rotated(const float* value, int64_t d, int64_t half, const float* cos_,
                        const float* sin_) {
  if (d >= 2 * half) return value[d];
  if (d < half) return fmaf(value[d], cos_[d], -(value[d + half] * sin_[d]));
  return fmaf(value[d], cos_[d - half], value[d - half] * sin_[d - half]);
}

// One block for every head of q, of k and of v of a row; those of one kv head lie together: its
// group of q, then k, then v.
SG_KERNEL prepare_heads(PrepareCall call) {
  SG_SHARED float value[kMaxHeadDim];
  SG_SHARED double parts[kThreads];
  const AttentionShape& shape = call.shape;
  const int64_t dim = shape.head_dim, group = shape.heads / shape.kv_heads;
  const int64_t units = (call.head_end - call.head_begin) * (group + 2);
  const int64_t row = block_index() / units, unit = block_index() % units;
  const int64_t kv_head = call.head_begin + unit / (group + 2), place = unit % (group + 2);
  const bool query = place < group, key = place == group;
  const int64_t head = query ? kv_head * group + place
                       : key ? shape.heads + kv_head
                             : shape.heads + shape.kv_heads + kv_head;
  const float* x = call.qkv + row * call.stride + head * dim;
  const float* norm = query ? shape.q_norm : key ? shape.k_norm : nullptr;
  SG_THREADS(t) {
    double squares = 0.0;
    for (int64_t d = t; d < dim; d += kThreads) squares += static_cast<double>(x[d]) * x[d];
    parts[t] = squares;
  }
  if (norm != nullptr) sum_threads<kThreads>(parts);
  SG_THREADS(t) {
    const double inverse = 1.0 / sqrt(parts[0] / static_cast<double>(dim) + shape.epsilon);
    for (int64_t d = t; d < dim; d += kThreads) {
      value[d] = x[d];
      if (norm == nullptr) continue;
      const double gain = static_cast<double>(shape.norm_offset) + norm[d];
      value[d] = static_cast<float>(x[d] * inverse * gain);
    }
  }
  SG_THREADS(t) {
    const int64_t half = shape.rotary_dim / 2;
    const RowSlot at = call.slots[row];
    auto* plane = static_cast<uint8_t*>(call.arena) + page_offset(shape, at.page, kv_head);
    for (int64_t d = t; d < dim; d += kThreads) {
      const float turned = rotated(value, d, half, call.cos + row * half, call.sin + row * half);
      if (query) {
        call.q_out[(row * shape.heads + head) * dim + d] = turned;
      } else if (key) {
        store_plane(plane, shape.kv_half, d * kPage + at.slot, turned);
      } else {
        store_plane(plane + plane_bytes(shape), shape.kv_half, at.slot * dim + d, value[d]);
      }
    }
  }
}

}  // namespace

Problem rotary(Stream stream, const int32_t* positions, const float* inv_freq, int64_t rows,
               int64_t half, float* cos, float* sin) {
  return launch(rotary_factors, rows, kThreads, stream, positions, inv_freq, half, cos, sin);
}

Problem attention_prepare(Stream stream, const PrepareCall& call) {
  const int64_t group = call.shape.heads / call.shape.kv_heads;
  const int64_t units = (call.head_end - call.head_begin) * (group + 2);
  return launch(prepare_heads, call.rows * units, kThreads, stream, call);
}

}  // namespace stepguard::cuda
