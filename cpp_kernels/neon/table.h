// NEON with the dot product of bytes, from the sources in vector/.
#pragma once

#include "kernels.h"

namespace stepguard::neon {

#include "table_functions.inc"

}  // namespace stepguard::neon
