// The segment table of a batch, as the ops read it: [S, 8] int32.
#pragma once

#include <algorithm>

#include "op.h"

namespace stepguard {

struct SegmentRow {
  int32_t first_row;    // in the packed batch
  int32_t rows;         // new tokens in this forward
  int32_t position;     // absolute position of the first of them
  int32_t page_start;   // in the list of pages
  int32_t page_count;   // page i holds positions 32i .. 32i+31
  int32_t copy_source;  // page whose first slots the segment inherits, or -1
  int32_t copy_target;
  int32_t copy_tokens;
};
static_assert(sizeof(SegmentRow) == 32, "eight int32 a row");

struct SegmentTable {
  const SegmentRow* segments = nullptr;
  int64_t count = 0;
  const int32_t* pages = nullptr;
};

// Reads and checks the two tables: every row of the batch belongs to one segment in order, every
// page exists, every segment has the pages that its positions need.
inline SegmentTable read_segments(const Call& call, size_t segments_index, size_t pages_index,
                                  int64_t rows, int64_t arena_pages) {
  const Tensor segments = call.input(segments_index, "segments", {-1, 8});
  const Tensor pages = call.input(pages_index, "pages", {-1});
  SegmentTable table{static_cast<const SegmentRow*>(segments.data), segments.shape[0],
                     pages.as<int32_t>()};
  const int64_t listed = pages.shape[0];
  for (int64_t i = 0; i < listed; ++i) {
    require(table.pages[i] >= 0 && table.pages[i] < arena_pages, "pages",
            "page numbers below " + std::to_string(arena_pages), table.pages[i]);
  }
  int64_t next = 0;
  for (int64_t s = 0; s < table.count; ++s) {
    const SegmentRow& row = table.segments[s];
    require(row.first_row == next && row.rows >= 0, "segments", "rows in order", row.first_row);
    next += row.rows;
    require(row.position >= 0, "segments", "a position of at least 0", row.position);
    require(row.page_start >= 0 && row.page_count >= 0 &&
                int64_t{row.page_start} + row.page_count <= listed,
            "segments", "pages inside the list", row.page_start);
    require((int64_t{row.position} + row.rows + kPage - 1) / kPage <= row.page_count, "segments",
            "a page for every position", row.page_count);
    if (row.copy_source >= 0) {
      require(row.copy_source < arena_pages && row.copy_target >= 0 &&
                  row.copy_target < arena_pages && row.copy_tokens >= 0 && row.copy_tokens <= kPage,
              "segments", "a copy between pages of the arena", row.copy_target);
    }
  }
  require(next == rows, "segments", std::to_string(rows) + " rows in all", next);
  return table;
}

// The index of the segment that a row of the batch belongs to. Segments without rows begin where
// the next one does; the last that begins has the row.
inline int64_t segment_of(const SegmentTable& table, int32_t row) {
  const auto behind = [](int32_t value, const SegmentRow& one) { return value < one.first_row; };
  const SegmentRow* end = table.segments + table.count;
  return std::upper_bound(table.segments, end, row, behind) - 1 - table.segments;
}

}  // namespace stepguard
