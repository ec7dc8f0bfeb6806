// AVX2 with AVX-VNNI: the table avx2 but for the Linear in integers.
#pragma once

#include "kernels.h"

namespace stepguard::avxvnni {

#include "table_functions.inc"

}  // namespace stepguard::avxvnni
