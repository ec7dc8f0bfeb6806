// What ONNX Runtime hands out, released when the scope ends.
#pragma once

#include <memory>

namespace stepguard {

template <typename Handle>
using Owned = std::unique_ptr<Handle, void (*)(Handle*)>;

}  // namespace stepguard
