// What several kernels share.
#pragma once

#include "shim.h"

namespace stepguard::cuda {

// The sum of parts[0..Threads) in parts[0], over a tree that depends on Threads alone. Called by
// all threads of a block.
template <int Threads, class T>
SG_DEVICE void sum_threads(T* parts) {
  for (int width = Threads / 2; width > 0; width /= 2) {
    SG_THREADS(t) {
      if (t < width) parts[t] += parts[t + width];
    }
  }
}

// Element i of row `id` of a table.
SG_DEVICE float table_value(const TableRows& table, int64_t id, int64_t i) {
  if (table.scales == nullptr) return static_cast<const float*>(table.data)[id * table.width + i];
  const int64_t blocks = (table.width + kBlock - 1) / kBlock;
  const float scale = half_value(table.scales[id * blocks + i / kBlock]);
  return scale * static_cast<float>(static_cast<const int8_t*>(table.data)[id * table.width + i]);
}

SG_DEVICE float sigmoid(float x) { return 1.0F / (1.0F + expf(-x)); }
SG_DEVICE float silu(float x) { return x / (1.0F + expf(-x)); }

// An element of a plane of a page.
SG_DEVICE float load_plane(const void* plane, bool half, int64_t i) {
  return half ? half_value(static_cast<const uint16_t*>(plane)[i])
              : static_cast<const float*>(plane)[i];
}
SG_DEVICE void store_plane(void* plane, bool half, int64_t i, float value) {
  if (half) {
    static_cast<uint16_t*>(plane)[i] = half_bits(value);
  } else {
    static_cast<float*>(plane)[i] = value;
  }
}

// The K plane [head_dim][32] of a kv head in a page; its V plane [32][head_dim] follows.
SG_DEVICE int64_t plane_bytes(const AttentionShape& shape) {
  return kPage * shape.head_dim * (shape.kv_half ? 2 : 4);
}
SG_DEVICE int64_t page_offset(const AttentionShape& shape, int64_t page, int64_t kv_head) {
  return (page * shape.kv_heads + kv_head) * 2 * plane_bytes(shape);
}

}  // namespace stepguard::cuda
