// Own: rows in integers. Rows in float32 gain nothing and are the Linear of avx2.
#include "avx2/table.h"
#include "avxvnni/integers.h"
#include "avxvnni/table.h"
#include "vector/linear_groups.h"
#include "vector/linear_integer.h"

namespace stepguard::avxvnni {

int64_t linear_blocks(const LinearInput& input) {
  if (input.activations == Activations::kFloat32) return avx2::linear_blocks(input);
  return split_rows(input.rows, input.activations).count;
}

size_t linear_packed_bytes(const LinearInput& input) {
  if (input.activations == Activations::kFloat32) return avx2::linear_packed_bytes(input);
  return integer_bytes(input);
}

void linear_pack(const LinearInput& input, const float* x, int64_t block_begin, int64_t block_end,
                 void* packed) {
  if (input.activations == Activations::kFloat32) {
    return avx2::linear_pack(input, x, block_begin, block_end, packed);
  }
  pack_integers(input, split_rows(input.rows, input.activations), x, block_begin, block_end,
                packed);
}

void linear(const LinearCall& call, int64_t unit_begin, int64_t unit_end) {
  if (call.activations == Activations::kFloat32) return avx2::linear(call, unit_begin, unit_end);
  run_groups<kIntegerRows>(call, split_rows(call.rows, call.activations), unit_begin, unit_end,
                           accumulate_integers);
}

}  // namespace stepguard::avxvnni
