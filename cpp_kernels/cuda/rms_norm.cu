#include "device.h"

namespace stepguard::cuda {
namespace {

constexpr int kThreads = 128;

// One block a row. Sums in double: the square of a float32 may be none.
SG_KERNEL norm_rows(const float* x, const float* weight, float epsilon, float offset, int64_t width,
                    float* y) {
  SG_SHARED double parts[kThreads];
  const int64_t row = block_index() * width;
  SG_THREADS(t) {
    double squares = 0.0;
    for (int64_t i = t; i < width; i += kThreads) {
      const double value = x[row + i];
      squares += value * value;
    }
    parts[t] = squares;
  }
  sum_threads<kThreads>(parts);
  SG_THREADS(t) {
    const double inverse = 1.0 / sqrt(parts[0] / static_cast<double>(width) + epsilon);
    for (int64_t i = t; i < width; i += kThreads) {
      const double gain = static_cast<double>(offset) + weight[i];
      y[row + i] = static_cast<float>(x[row + i] * inverse * gain);
    }
  }
}

}  // namespace

Problem rms_norm(Stream stream, const float* x, const float* weight, float epsilon, float offset,
                 int64_t rows, int64_t width, float* y) {
  return launch(norm_rows, rows, kThreads, stream, x, weight, epsilon, offset, width, y);
}

}  // namespace stepguard::cuda
