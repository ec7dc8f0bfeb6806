// The plain reference: obvious loops, sums in double, every result rounded to float32 once.
#pragma once

#include "kernels.h"

namespace stepguard::reference {

#include "table_functions.inc"

}  // namespace stepguard::reference
