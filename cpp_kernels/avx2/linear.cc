// y = x . W: one chain of multiply-adds per output, in the order of k, whatever the tile.
#include "avx2/activation.h"
#include "avx2/linear_rows.h"
#include "avx2/table.h"

namespace stepguard::avx2 {
namespace {

constexpr int64_t kSums = 2 * kGroupBlocks * kFloatRows * kPanel;

// y = sums (+ bias) (+ residual) for one panel; only columns below n are read or written.
void finish_panel(const LinearCall& call, int64_t panel, const Group& group, const float* sums) {
  const int64_t n = call.weight.n;
  for (int64_t r = 0; r < group.rows; ++r) {
    for (int64_t c = 0; c < kPanel; c += kLanes) {
      const int64_t column = panel * kPanel + c;
      if (column >= n) break;
      const int64_t at = (group.first + r) * n + column;
      __m256 sum = _mm256_loadu_ps(sums + r * kPanel + c);
      if (call.weight.bias != nullptr) {
        sum = _mm256_add_ps(sum, load_part(call.weight.bias + column, n - column));
      }
      if (call.epilogue == Epilogue::kResidual) {
        sum = _mm256_add_ps(sum, load_part(call.residual + at, n - column));
      }
      store_part(call.y + at, sum, n - column);
    }
  }
}

// y = silu(gate) * up for one pair of panels.
void finish_pair(const LinearCall& call, int64_t unit, const Group& group, const float* gate,
                 const float* up) {
  const int64_t n = call.weight.n / 2;
  for (int64_t r = 0; r < group.rows; ++r) {
    for (int64_t c = 0; c < kPanel; c += kLanes) {
      const int64_t column = unit * kPanel + c;
      if (column >= n) break;
      const __m256 g = silu_lanes(_mm256_loadu_ps(gate + r * kPanel + c));
      const __m256 value = _mm256_mul_ps(g, _mm256_loadu_ps(up + r * kPanel + c));
      store_part(call.y + (group.first + r) * n + column, value, n - column);
    }
  }
}

void finish(const LinearCall& call, int64_t panel, int64_t panels, const Group& group) {
  const int64_t step = call.epilogue == Epilogue::kSwiGlu ? 2 : 1;
  for (int64_t p = 0; p < panels; p += step) {
    const float* sums = group.sums + p * group.rows * kPanel;
    if (step == 2) {
      finish_pair(call, (panel + p) / 2, group, sums, sums + group.rows * kPanel);
    } else {
      finish_panel(call, panel + p, group, sums);
    }
  }
}

}  // namespace

int64_t linear_blocks(const LinearInput& input) {
  return split_rows(input.rows, input.activations).count;
}

size_t linear_packed_bytes(const LinearInput& input) {
  if (input.activations == Activations::kInt8) return integer_bytes(input);
  return static_cast<size_t>(input.rows * input.k) * sizeof(float);
}

void linear_pack(const LinearInput& input, const float* x, int64_t block_begin, int64_t block_end,
                 void* packed) {
  const auto pack = input.activations == Activations::kInt8 ? pack_integers : pack_floats;
  pack(input, split_rows(input.rows, input.activations), x, block_begin, block_end, packed);
}

// A group of rows stays in the cache for all panels of the range, and so do the range's panels from
// one group to the next.
void linear(const LinearCall& call, int64_t unit_begin, int64_t unit_end) {
  alignas(64) float sums[kSums];
  const int64_t width = call.epilogue == Epilogue::kSwiGlu ? 2 : 1;
  const int64_t last = unit_end * width;
  const Split split = split_rows(call.rows, call.activations);
  const auto accumulate =
      call.activations == Activations::kInt8 ? accumulate_integers : accumulate_floats;
  for (int64_t begin = 0; begin < split.count; begin += kGroupBlocks) {
    const Group group = group_at(split, begin, sums);
    for (int64_t panel = unit_begin * width; panel < last; panel += 2) {
      const int64_t panels = least(2, last - panel);  // two at a time: SwiGLU needs the pair
      for (int64_t i = 0; i < panels * group.rows * kPanel; ++i) sums[i] = 0.0F;
      accumulate(call, panel, panels, group);
      finish(call, panel, panels, group);
    }
  }
}

}  // namespace stepguard::avx2
