// The reads of a batch, checked: rows of it, and of read row m the output rows
// read_ids[read_offsets[m]..read_offsets[m + 1]).
#pragma once

#include "op.h"

namespace stepguard {

inline void check_reads(int64_t count, const int32_t* offsets, const Tensor& ids,
                        int64_t vocabulary) {
  require(offsets[0] == 0, "read_offsets", "0 at the start", offsets[0]);
  for (int64_t m = 0; m < count; ++m) {
    require(offsets[m] >= 0 && offsets[m] <= offsets[m + 1], "read_offsets", "ascending numbers",
            offsets[m]);
  }
  require(offsets[count] == ids.shape[0], "read_offsets",
          std::to_string(ids.shape[0]) + " at the end", offsets[count]);
  for (int64_t j = 0; j < ids.shape[0]; ++j) {
    require(ids.as<int32_t>()[j] >= 0 && ids.as<int32_t>()[j] < vocabulary, "read_ids",
            "ids below " + std::to_string(vocabulary), ids.as<int32_t>()[j]);
  }
}

// Every one of `reads` is a row of the batch, which has `rows`.
inline void check_rows(const Tensor& reads, const char* name, int64_t rows) {
  for (int64_t m = 0; m < reads.shape[0]; ++m) {
    const int32_t row = reads.as<int32_t>()[m];
    require(row >= 0 && row < rows, name, "rows below " + std::to_string(rows), row);
  }
}

}  // namespace stepguard
