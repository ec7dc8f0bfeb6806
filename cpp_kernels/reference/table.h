// The plain reference: obvious loops, sums in double, every result rounded to float32 once.
#pragma once

#include "kernels.h"

namespace stepguard::reference {

extern const KernelTable kTable;

// Each function is documented at its place in KernelTable.
void rms_norm(const float* x, const float* weight, float epsilon, float offset, int64_t rows,
              int64_t width, float* y);
void embed(const int32_t* ids, int64_t rows, const void* table, const uint16_t* scales,
           int64_t width, float* y);
float read_row(const float* x, int64_t id, const void* table, const uint16_t* scales,
               int64_t width);
int64_t linear_blocks(int64_t rows);
size_t linear_packed_bytes(WeightFormat format, int64_t rows, int64_t k);
void linear_pack(WeightFormat format, const float* x, int64_t rows, int64_t k, int64_t block_begin,
                 int64_t block_end, void* packed);
void linear(const LinearCall& call, int64_t unit_begin, int64_t unit_end);
void attention_prepare(const AttentionShape& shape, const float* qkv, const float* cos,
                       const float* sin, int64_t head_begin, int64_t head_end, float* q_out,
                       void* page, int64_t slot);
void attention(const AttentionShape& shape, const float* q, int64_t position, int64_t rows,
               const int32_t* pages, const void* arena, int64_t kv_head, float* out);
void sigmoid_gate(const float* gate, int64_t gate_stride, int64_t rows, int64_t width, float* x,
                  int64_t stride);
void delta_prepare(const DeltaShape& shape, const DeltaCall& call, int64_t unit_begin,
                   int64_t unit_end);
void delta_rule(const DeltaShape& shape, const DeltaCall& call, int64_t head_begin,
                int64_t head_end);

}  // namespace stepguard::reference
