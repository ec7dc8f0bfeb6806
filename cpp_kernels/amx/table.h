// AMX: the table avx512, but the Linear of int4 and int8 weights in tiles.
#pragma once

#include "kernels.h"

namespace stepguard::amx {

#include "table_functions.inc"

}  // namespace stepguard::amx
