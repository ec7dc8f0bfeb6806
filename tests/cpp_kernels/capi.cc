// The kernel tables as C functions, for tests that call them through ctypes. Every operation takes
// the name of a table and returns the name of the table that ran, or null if there is none.
#include <cstdint>
#include <vector>

#include "tested_tables.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

using stepguard::Activations;
using stepguard::AttentionShape;
using stepguard::Epilogue;
using stepguard::KernelTable;
using stepguard::LinearCall;
using stepguard::LinearInput;
using stepguard::LinearWeight;
using stepguard::WeightFormat;

EXPORT const char* sg_table_name(int64_t index) {
  const stepguard::Tables& tables = stepguard::tested_tables();
  return static_cast<size_t>(index) < tables.size() ? tables[static_cast<size_t>(index)]->name
                                                    : nullptr;
}

EXPORT const char* sg_table_description(const char* name) {
  const KernelTable* table = stepguard::tested_table(name);
  return table != nullptr ? table->description : nullptr;
}

EXPORT const char* sg_table_problem(const char* name) {
  return stepguard::tested_table(name) != nullptr ? nullptr : stepguard::table_problem(name);
}

EXPORT int32_t sg_multiplies_bfloat16(const char* name) {
  const KernelTable* table = stepguard::tested_table(name);
  return table != nullptr && table->multiplies_bfloat16 ? 1 : 0;
}

EXPORT void sg_half_to_float(const uint16_t* from, int64_t count, float* to) {
  for (int64_t i = 0; i < count; ++i) to[i] = stepguard::half_to_float(from[i]);
}

EXPORT void sg_float_to_half(const float* from, int64_t count, uint16_t* to) {
  for (int64_t i = 0; i < count; ++i) to[i] = stepguard::float_to_half(from[i]);
}

EXPORT const char* sg_rms_norm(const char* name, const float* x, const float* weight, float epsilon,
                               float offset, int64_t rows, int64_t width, float* y) {
  const KernelTable* table = stepguard::tested_table(name);
  if (table == nullptr) return nullptr;
  table->rms_norm(x, weight, epsilon, offset, rows, width, y);
  return table->name;
}

EXPORT const char* sg_embed(const char* name, const int32_t* ids, int64_t rows, const void* data,
                            const uint16_t* scales, int64_t width, float* y) {
  const KernelTable* table = stepguard::tested_table(name);
  if (table == nullptr) return nullptr;
  table->embed(ids, rows, data, scales, width, y);
  return table->name;
}

EXPORT const char* sg_read_row(const char* name, const float* x, int64_t id, const void* data,
                               const uint16_t* scales, int64_t width, float* y) {
  const KernelTable* table = stepguard::tested_table(name);
  if (table == nullptr) return nullptr;
  *y = table->read_row(x, id, data, scales, width);
  return table->name;
}

EXPORT const char* sg_read_rows(const char* name, const float* x, int64_t rows, int64_t begin,
                                int64_t end, const void* data, const uint16_t* scales,
                                int64_t width, float* y) {
  const KernelTable* table = stepguard::tested_table(name);
  if (table == nullptr) return nullptr;
  table->read_rows(x, rows, begin, end, data, scales, width, y);
  return table->name;
}

// Packs `block_cut` row blocks and computes `unit_cut` units a call, as threads would.
EXPORT const char* sg_linear(const char* name, int32_t format, int32_t activations, int64_t n,
                             int64_t k, const void* data, const uint16_t* scales, const float* bias,
                             int32_t epilogue, const float* x, int64_t rows, const float* residual,
                             float* y, int64_t block_cut, int64_t unit_cut) {
  const KernelTable* table = stepguard::tested_table(name);
  if (table == nullptr) return nullptr;
  LinearCall call;
  call.weight = LinearWeight{static_cast<WeightFormat>(format), n, k, data, scales, bias};
  call.activations = static_cast<Activations>(activations);
  call.epilogue = static_cast<Epilogue>(epilogue);
  call.rows = rows;
  call.residual = residual;
  call.y = y;
  const LinearInput input{call.weight.format, call.activations, rows, k};
  // Exactly as large as it must be: a sanitizer sees what is beyond.
  std::vector<float> packed(table->linear_packed_bytes(input) / sizeof(float));
  call.packed = packed.data();
  const int64_t blocks = table->linear_blocks(input);
  for (int64_t b = 0; b < blocks; b += block_cut) {
    const int64_t end = b + block_cut < blocks ? b + block_cut : blocks;
    table->linear_pack(input, x, b, end, packed.data());
  }
  const int64_t width = call.epilogue == Epilogue::kSwiGlu ? n / 2 : n;
  const int64_t units = (width + stepguard::kPanel - 1) / stepguard::kPanel;
  for (int64_t u = 0; u < units; u += unit_cut) {
    table->linear(call, u, u + unit_cut < units ? u + unit_cut : units);
  }
  return table->name;
}

// A ctypes.Structure of the tests has the same fields as AttentionShape, in order.
EXPORT int64_t sg_page_bytes(const AttentionShape* shape) { return shape->page_bytes(); }

EXPORT const char* sg_attention_prepare(const char* name, const AttentionShape* shape,
                                        const float* qkv, const float* cos, const float* sin,
                                        int64_t head_begin, int64_t head_end, float* q_out,
                                        void* page, int64_t slot) {
  const KernelTable* table = stepguard::tested_table(name);
  if (table == nullptr) return nullptr;
  table->attention_prepare(*shape, qkv, cos, sin, head_begin, head_end, q_out, page, slot);
  return table->name;
}

EXPORT const char* sg_attention(const char* name, const AttentionShape* shape, const float* q,
                                int64_t position, int64_t rows, const int32_t* pages,
                                const void* arena, int64_t kv_head, float* out) {
  const KernelTable* table = stepguard::tested_table(name);
  if (table == nullptr) return nullptr;
  table->attention(*shape, q, position, rows, pages, arena, kv_head, out);
  return table->name;
}

EXPORT const char* sg_copy_page(const char* name, const AttentionShape* shape, const void* source,
                                void* target, int64_t tokens) {
  const KernelTable* table = stepguard::tested_table(name);
  if (table == nullptr) return nullptr;
  table->copy_page(*shape, source, target, tokens);
  return table->name;
}
