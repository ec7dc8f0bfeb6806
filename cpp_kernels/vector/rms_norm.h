// RmsNorm of a table.
#pragma once

#include "vector/norm.h"

namespace stepguard::STEPGUARD_TABLE {

void rms_norm(const float* x, const float* weight, float epsilon, float offset, int64_t rows,
              int64_t width, float* y) {
  for (int64_t r = 0; r < rows; ++r, x += width, y += width) {
    scale_row(x, weight, inverse_rms(x, width, epsilon), offset, width, y);
  }
}

}  // namespace stepguard::STEPGUARD_TABLE
