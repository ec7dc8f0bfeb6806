// Moving whole slots of KV pages: the same bytes whatever the instruction set.
#pragma once

#include "kernels.h"

namespace stepguard {

// See KernelTable::copy_page.
void copy_page(const AttentionShape& shape, const void* source, void* target, int64_t tokens);

}  // namespace stepguard
