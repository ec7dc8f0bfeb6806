// The functions of the table: sources for any vectors, compiled for these.
#include "avx512/integers.h"
#include "avx512/table.h"
#include "avx512/vec.h"
#include "vector/attention.h"
#include "vector/delta_prepare.h"
#include "vector/delta_rule.h"
#include "vector/linear.h"
#include "vector/rms_norm.h"
