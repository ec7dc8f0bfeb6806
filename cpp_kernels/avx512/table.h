// AVX-512 (F, BW, VL, DQ) and VNNI, from the sources in vector/.
#pragma once

#include "kernels.h"

namespace stepguard::avx512 {

#include "table_functions.inc"

}  // namespace stepguard::avx512
