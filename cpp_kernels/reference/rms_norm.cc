#include <cmath>

#include "reference/table.h"

namespace stepguard::reference {

void rms_norm(const float* x, const float* weight, float epsilon, float offset, int64_t rows,
              int64_t width, float* y) {
  for (int64_t r = 0; r < rows; ++r, x += width, y += width) {
    double squares = 0.0;
    for (int64_t i = 0; i < width; ++i) squares += double{x[i]} * x[i];
    const double inverse = 1.0 / std::sqrt(squares / static_cast<double>(width) + epsilon);
    for (int64_t i = 0; i < width; ++i) {
      y[i] = static_cast<float>(x[i] * inverse * (double{offset} + weight[i]));
    }
  }
}

}  // namespace stepguard::reference
