#include "avx2/table.h"
#include "avx2/vec.h"

namespace stepguard::avx2 {

void rms_norm(const float* x, const float* weight, float epsilon, float offset, int64_t rows,
              int64_t width, float* y) {
  for (int64_t r = 0; r < rows; ++r, x += width, y += width) {
    scale_row(x, weight, inverse_rms(x, width, epsilon), offset, width, y);
  }
}

}  // namespace stepguard::avx2
