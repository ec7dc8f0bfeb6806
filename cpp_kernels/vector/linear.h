// The Linear of a table: row blocks are packed, then multiplied group by group.
#pragma once

#include "vector/linear_float.h"
#include "vector/linear_groups.h"
#include "vector/linear_integer.h"

namespace stepguard::STEPGUARD_TABLE {

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

void linear(const LinearCall& call, int64_t unit_begin, int64_t unit_end) {
  const Split split = split_rows(call.rows, call.activations);
  if (call.activations == Activations::kInt8) {
    run_groups<kIntegerRows>(call, split, unit_begin, unit_end, accumulate_integers);
  } else {
    run_groups<kFloatRows>(call, split, unit_begin, unit_end, accumulate_floats);
  }
}

}  // namespace stepguard::STEPGUARD_TABLE
