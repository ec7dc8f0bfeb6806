// Explicit AVX2, FMA and F16C: every output has one fixed order of operations, however many rows
// or columns are computed together.
#pragma once

#include "kernels.h"

namespace stepguard::avx2 {

#include "table_functions.inc"

}  // namespace stepguard::avx2
