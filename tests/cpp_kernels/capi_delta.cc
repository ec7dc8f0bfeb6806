// The delta rule and the output gate as C functions, as in capi.cc. ctypes structures of the tests
// have the same fields as DeltaShape and DeltaCall, in order.
#include <algorithm>
#include <cstdint>

#include "tested_tables.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

using stepguard::DeltaCall;
using stepguard::DeltaShape;
using stepguard::KernelTable;

EXPORT const char* sg_sigmoid_gate(const char* name, const float* gate, int64_t gate_stride,
                                   int64_t rows, int64_t width, float* x, int64_t stride) {
  const KernelTable* table = stepguard::tested_table(name);
  if (table == nullptr) return nullptr;
  table->sigmoid_gate(gate, gate_stride, rows, width, x, stride);
  return table->name;
}

// One segment; `unit_cut` units and `head_cut` heads a call, as threads would.
EXPORT const char* sg_delta(const char* name, const DeltaShape* shape, const DeltaCall* call,
                            int64_t unit_cut, int64_t head_cut) {
  const KernelTable* table = stepguard::tested_table(name);
  if (table == nullptr) return nullptr;
  const int64_t units = 2 * shape->k_heads + shape->v_heads;
  for (int64_t u = 0; u < units; u += unit_cut) {
    table->delta_prepare(*shape, *call, u, std::min(u + unit_cut, units));
  }
  for (int64_t h = 0; h < shape->v_heads; h += head_cut) {
    table->delta_rule(*shape, *call, h, std::min(h + head_cut, shape->v_heads));
  }
  return table->name;
}
