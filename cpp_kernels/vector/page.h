// Where the planes of a kv head lie in a page.
#pragma once

#include "vector/math.h"

namespace stepguard::STEPGUARD_TABLE {
namespace {

// Bytes of one plane (keys or values) of one kv head. The page holds 2 kv_heads of them.
[[maybe_unused]] inline int64_t plane_bytes(const AttentionShape& shape) {
  return kPage * shape.head_dim * (shape.kv_half ? 2 : 4);
}

[[maybe_unused]] inline const uint8_t* plane_at(const AttentionShape& shape, const void* arena,
                                                int64_t page, int64_t plane) {
  const int64_t planes = page * 2 * shape.kv_heads + plane;
  return static_cast<const uint8_t*>(arena) + planes * plane_bytes(shape);
}

}  // namespace
}  // namespace stepguard::STEPGUARD_TABLE
