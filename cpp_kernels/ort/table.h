// A table of rows (embedding or output matrix): 8-bit with a scale per 32, or float32.
#pragma once

#include "op.h"

namespace stepguard {

struct Table {
  const void* data = nullptr;
  const uint16_t* scales = nullptr;  // null: float32 rows
  int64_t rows = 0;
};

// Reads table and scales from two inputs of a node and checks them against `width`; a negative
// width is taken from the table itself and returned there.
inline Table read_table(const Call& call, size_t table_index, size_t scales_index, int64_t& width) {
  const Tensor table = call.input(table_index, "table", {-1, width});
  width = table.shape[1];
  const Tensor scales = call.input(scales_index);
  Table result{table.data, nullptr, table.shape[0]};
  if (table.type == kOrtFloat) {
    require(!scales.present(), "table", "no scales beside a float32 table", 1);
    return result;
  }
  require(table.type == kOrtInt8, "table", "element type float32 or int8", table.type);
  const Tensor checked = call.input(scales_index, "table scales", {result.rows, -1});
  require(checked.type == kOrtFloat16, "table scales", "float16", checked.type);
  require(checked.shape[1] == (width + kBlock - 1) / kBlock, "table scales", "a scale per 32",
          checked.shape[1]);
  result.scales = checked.as<uint16_t>();
  return result;
}

}  // namespace stepguard
