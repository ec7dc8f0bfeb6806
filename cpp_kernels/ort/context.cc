#include "context.h"

#include <cmath>

namespace stepguard {

const Rotary& OpContext::rotary(const float* inv_freq, int64_t half, const int32_t* segments,
                                int64_t segment_count, int64_t rows) {
  const RotaryKey key{inv_freq, half, segments, rows};
  if (rotary_forward_ == forward && rotary_key_ == key) return rotary_;
  rotary_.cos.resize(static_cast<size_t>(rows * half));
  rotary_.sin.resize(static_cast<size_t>(rows * half));
  for (int64_t s = 0; s < segment_count; ++s) {
    const int32_t* segment = segments + s * 8;
    const int64_t first = segment[0], count = segment[1];
    parallel->for_range(count, 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const auto position = static_cast<float>(segment[2] + i);
        for (int64_t j = 0; j < half; ++j) {
          // The angle is a float32 product, as in the implementations that trained the models.
          const double angle = position * inv_freq[j];
          rotary_.cos[static_cast<size_t>((first + i) * half + j)] =
              static_cast<float>(std::cos(angle));
          rotary_.sin[static_cast<size_t>((first + i) * half + j)] =
              static_cast<float>(std::sin(angle));
        }
      }
    });
  }
  rotary_forward_ = forward;
  rotary_key_ = key;
  return rotary_;
}

void OpContext::spend(const char* op, double seconds) {
  for (OpTime& time : times) {
    if (time.name == op) {
      time.seconds += seconds;
      return;
    }
  }
  times.push_back({op, seconds});
}

void* OpContext::scratch(size_t index, size_t bytes) {
  if (scratch_.size() <= index) scratch_.resize(index + 1);
  Scratch& buffer = scratch_[index];
  if (buffer.bytes < bytes) {
    buffer = {};  // the smaller one goes first: nobody needs what is in it
    buffer.data.reset(new uint8_t[bytes + 64]);
    buffer.bytes = bytes;
  }
  const auto address = reinterpret_cast<uintptr_t>(buffer.data.get());
  return reinterpret_cast<void*>((address + 63) & ~uintptr_t{63});
}

}  // namespace stepguard
