// The loop over groups of rows and pairs of panels, and what follows the sums of a Linear: bias,
// residual, SwiGLU.
#pragma once

#include "vector/linear_rows.h"

namespace stepguard::STEPGUARD_TABLE {
namespace {

// y = sums (+ bias) (+ residual) for one panel; only columns below n are read or written.
void finish_panel(const LinearCall& call, int64_t panel, const Group& group, const float* sums) {
  const int64_t n = call.weight.n;
  for (int64_t r = 0; r < group.rows; ++r) {
    for (int64_t c = 0; c < kPanel; c += kLanes) {
      const int64_t column = panel * kPanel + c;
      if (column >= n) break;
      const int64_t at = (group.first + r) * n + column;
      Vec sum = load(sums + r * kPanel + c);
      if (call.weight.bias != nullptr) {
        sum = add(sum, load_part(call.weight.bias + column, n - column));
      }
      if (call.epilogue == Epilogue::kResidual) {
        sum = add(sum, load_part(call.residual + at, n - column));
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
      const Vec g = silu_lanes(load(gate + r * kPanel + c));
      store_part(call.y + (group.first + r) * n + column, mul(g, load(up + r * kPanel + c)),
                 n - column);
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

// Adds x . w of a group of rows to the sums of `panels` panels from `panel` on.
using Accumulate = void (*)(const LinearCall& call, int64_t panel, int64_t panels,
                            const Group& group);

// Units [unit_begin, unit_end), for blocks of at most MostRows rows. A group of rows stays in the
// cache for all panels of the range, and so do the range's panels from one group to the next.
template <int64_t MostRows>
void run_groups(const LinearCall& call, const Split& split, int64_t unit_begin, int64_t unit_end,
                Accumulate accumulate) {
  constexpr int64_t kPanels = kFewRowPanels;  // an even number: SwiGLU needs the pair
  alignas(64) float sums[kPanels * kGroupBlocks * MostRows * kPanel];
  const int64_t width = call.epilogue == Epilogue::kSwiGlu ? 2 : 1;
  const int64_t last = unit_end * width;
  for (int64_t begin = 0; begin < split.count; begin += kGroupBlocks) {
    const Group group(split, begin, sums);
    for (int64_t panel = unit_begin * width; panel < last; panel += kPanels) {
      const int64_t panels = least(kPanels, last - panel);
      for (int64_t i = 0; i < panels * group.rows * kPanel; ++i) sums[i] = 0.0F;
      accumulate(call, panel, panels, group);
      finish(call, panel, panels, group);
    }
  }
}

}  // namespace
}  // namespace stepguard::STEPGUARD_TABLE
