#include "device.h"

namespace stepguard::cuda {
namespace {

constexpr int kThreads = 128;

// One block a kv head. Keys are transposed: a slot is a column.
template <class Element>
SG_KERNEL copy_slots(int64_t dim, int64_t tokens, const Element* source, Element* target) {
  const int64_t plane = kPage * dim;
  const Element* from = source + block_index() * 2 * plane;
  Element* to = target + block_index() * 2 * plane;
  SG_THREADS(t) {
    for (int64_t i = t; i < dim * tokens; i += kThreads) {
      const int64_t key = i / tokens * kPage + i % tokens;
      to[key] = from[key];
      to[plane + i] = from[plane + i];
    }
  }
}

}  // namespace

Problem copy_page(Stream stream, const AttentionShape& shape, const void* source, void* target,
                  int64_t tokens) {
  if (tokens == 0) return nullptr;
  if (shape.kv_half) {
    return launch(copy_slots<uint16_t>, shape.kv_heads, kThreads, stream, shape.head_dim, tokens,
                  static_cast<const uint16_t*>(source), static_cast<uint16_t*>(target));
  }
  return launch(copy_slots<uint32_t>, shape.kv_heads, kThreads, stream, shape.head_dim, tokens,
                static_cast<const uint32_t*>(source), static_cast<uint32_t*>(target));
}

}  // namespace stepguard::cuda
