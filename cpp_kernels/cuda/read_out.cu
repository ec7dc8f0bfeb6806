// Dot products of rows with output rows. A warp's worth of threads has one output row: thread l
// takes elements l, l + 32, ... in order, and its first thread adds the 32 sums in order.
#include "device.h"

namespace stepguard::cuda {
namespace {

constexpr int kOutputs = 4;  // output rows of a block
constexpr int kThreads = kOutputs * kWarp;
constexpr int kTogether = 4;  // rows of x that share one look at an output row

struct LaneSums {
  float of[kTogether];
};

// Adds the elements of one lane for up to kTogether rows of x.
SG_DEVICE void add_lane(const float* x, int rows, const TableRows& table, int64_t id, int lane,
                        LaneSums& sums) {
  for (int64_t i = lane; i < table.width; i += kWarp) {
    const float value = table_value(table, id, i);
    SG_UNROLL
    for (int r = 0; r < kTogether; ++r) {
      if (r < rows) sums.of[r] = fmaf(x[r * table.width + i], value, sums.of[r]);
    }
  }
}

SG_DEVICE float in_order(const float* lanes) {
  float sum = lanes[0];
  for (int l = 1; l < kWarp; ++l) sum += lanes[l];
  return sum;
}

// Where `id` is among the ascending label ids, or -1.
SG_DEVICE int64_t find_label(const Reads& reads, int32_t id) {
  int64_t low = 0, high = reads.labels;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (reads.label_ids[middle] < id) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < reads.labels && reads.label_ids[low] == id ? low : -1;
}

SG_KERNEL read_listed(Reads reads, float* y) {
  SG_SHARED float lanes[kOutputs][kWarp];
  const int64_t first = block_index() * kOutputs;
  SG_THREADS(t) {
    const int64_t i = first + t / kWarp;
    if (i >= reads.count) continue;
    const int64_t label = find_label(reads, reads.ids[i]);
    const TableRows labels{reads.label_rows, nullptr, reads.table.width};
    const float* x = reads.x + reads.rows[i] * reads.table.width;
    LaneSums sums = {};
    if (label >= 0) {
      add_lane(x, 1, labels, label, t % kWarp, sums);
    } else {
      add_lane(x, 1, reads.table, reads.ids[i], t % kWarp, sums);
    }
    lanes[t / kWarp][t % kWarp] = sums.of[0];
  }
  SG_THREADS(t) {
    if (t < kOutputs && first + t < reads.count) y[first + t] = in_order(lanes[t]);
  }
}

// y [rows][end - begin]: blocks of output rows, each for all rows of x.
SG_KERNEL read_range(const float* x, int64_t rows, int64_t begin, int64_t end, TableRows table,
                     float* y) {
  SG_SHARED float lanes[kOutputs][kTogether][kWarp];
  const int64_t first = begin + block_index() * kOutputs;
  for (int64_t r = 0; r < rows; r += kTogether) {
    const int together = static_cast<int>(rows - r < kTogether ? rows - r : kTogether);
    SG_THREADS(t) {
      const int64_t id = first + t / kWarp;
      if (id >= end) continue;
      LaneSums sums = {};
      add_lane(x + r * table.width, together, table, id, t % kWarp, sums);
      SG_UNROLL
      for (int i = 0; i < kTogether; ++i) lanes[t / kWarp][i][t % kWarp] = sums.of[i];
    }
    SG_THREADS(t) {
      const int64_t id = first + t % kOutputs;
      const int i = t / kOutputs;
      if (i < together && id < end) {
        y[(r + i) * (end - begin) + id - begin] = in_order(lanes[t % kOutputs][i]);
      }
    }
  }
}

int64_t blocks_of(int64_t outputs) { return (outputs + kOutputs - 1) / kOutputs; }

}  // namespace

Problem read_out(Stream stream, const Reads& reads, float* y) {
  return launch(read_listed, blocks_of(reads.count), kThreads, stream, reads, y);
}

Problem read_rows(Stream stream, const float* x, int64_t rows, int64_t begin, int64_t end,
                  const TableRows& table, float* y) {
  if (rows == 0) return nullptr;
  return launch(read_range, blocks_of(end - begin), kThreads, stream, x, rows, begin, end, table,
                y);
}

}  // namespace stepguard::cuda
