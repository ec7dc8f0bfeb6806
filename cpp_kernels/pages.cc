#include "pages.h"

#include <cstring>

namespace stepguard {

void copy_page(const AttentionShape& shape, const void* source, void* target, int64_t tokens) {
  const size_t element = shape.kv_half ? 2 : 4;
  const auto dim = static_cast<size_t>(shape.head_dim);
  const size_t part = static_cast<size_t>(tokens) * element;
  const size_t plane = kPage * dim * element;
  const auto* from = static_cast<const unsigned char*>(source);
  auto* to = static_cast<unsigned char*>(target);
  for (int64_t head = 0; head < shape.kv_heads; ++head) {
    for (size_t d = 0; d < dim; ++d) {  // keys are transposed: a slot is a column
      std::memcpy(to + d * kPage * element, from + d * kPage * element, part);
    }
    std::memcpy(to + plane, from + plane, part * dim);
    from += 2 * plane;
    to += 2 * plane;
  }
}

}  // namespace stepguard
