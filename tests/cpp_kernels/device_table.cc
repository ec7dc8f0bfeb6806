#include "device_table.h"

#include <dlfcn.h>

#include <algorithm>
#include <vector>

#include "delta.h"
#include "device_operands.h"

namespace stepguard {
namespace {

const cuda::Table* library = nullptr;

int64_t blocks(int64_t size, int64_t block) { return (size + block - 1) / block; }

cuda::TableRows table_rows(Operands& operands, const void* table, const uint16_t* scales,
                           int64_t rows, int64_t width) {
  const size_t element = scales == nullptr ? sizeof(float) : 1;
  return {operands.put_bytes(table, static_cast<size_t>(rows * width) * element),
          operands.put(scales, rows * blocks(width, kBlock)), width};
}

void rms_norm(const float* x, const float* weight, float epsilon, float offset, int64_t rows,
              int64_t width, float* y) {
  Operands operands(*library);
  const float* from = operands.put(x, rows * width);
  const float* gain = operands.put(weight, width);
  // In place where the caller is.
  float* to = x == y ? const_cast<float*>(from) : operands.in_out(y, rows * width);
  const auto problem = library->rms_norm(nullptr, from, gain, epsilon, offset, rows, width, to);
  operands.finish(problem);
  if (x != y) return;
  must(library->download(nullptr, y, to, static_cast<size_t>(rows * width) * sizeof(float)));
  must(library->wait(nullptr));
}

void embed(const int32_t* ids, int64_t rows, const void* table, const uint16_t* scales,
           int64_t width, float* y) {
  Operands operands(*library);
  const int64_t most = rows == 0 ? 0 : *std::max_element(ids, ids + rows) + 1;
  const cuda::TableRows from = table_rows(operands, table, scales, most, width);
  const int32_t* which = operands.put(ids, rows);
  operands.finish(library->embed(nullptr, which, rows, from, operands.in_out(y, rows * width)));
}

float read_row(const float* x, int64_t id, const void* table, const uint16_t* scales,
               int64_t width) {
  Operands operands(*library);
  const int32_t row = 0, which = static_cast<int32_t>(id);
  cuda::Reads reads;
  reads.x = operands.put(x, width);
  reads.rows = operands.put(&row, 1);
  reads.ids = operands.put(&which, 1);
  reads.count = 1;
  reads.table = table_rows(operands, table, scales, id + 1, width);
  float y = 0.0F;
  float* to = operands.in_out(&y, 1);
  operands.finish(library->read_out(nullptr, reads, to));
  return y;
}

void read_rows(const float* x, int64_t rows, int64_t begin, int64_t end, const void* table,
               const uint16_t* scales, int64_t width, float* y) {
  Operands operands(*library);
  const cuda::TableRows from = table_rows(operands, table, scales, end, width);
  const float* device = operands.put(x, rows * width);
  float* to = operands.in_out(y, rows * (end - begin));
  operands.finish(library->read_rows(nullptr, device, rows, begin, end, from, to));
}

int64_t linear_blocks(const LinearInput& input) { return input.rows; }

// Float32 rows are read as they are.
size_t row_bytes(const LinearInput& input) {
  return static_cast<size_t>(input.rows * input.k) * sizeof(float);
}

size_t linear_packed_bytes(const LinearInput& input) {
  const size_t bytes = library->linear_packed_bytes(input);
  return bytes != 0 ? bytes : row_bytes(input);
}

// A library packs all rows at once, so the last block does it.
void linear_pack(const LinearInput& input, const float* x, int64_t, int64_t block_end,
                 void* packed) {
  if (block_end != input.rows || input.rows == 0) return;
  if (input.activations == Activations::kFloat32) {
    std::copy_n(x, input.rows * input.k, static_cast<float*>(packed));
    return;
  }
  Operands operands(*library);
  const float* from = operands.put(x, input.rows * input.k);
  auto* to = operands.in_out(static_cast<uint8_t*>(packed),
                             static_cast<int64_t>(library->linear_packed_bytes(input)));
  operands.finish(library->linear_pack(nullptr, input, from, to));
}

void linear(const LinearCall& call, int64_t unit_begin, int64_t unit_end) {
  Operands operands(*library);
  LinearCall on_device = call;
  const LinearWeight& w = call.weight;
  const bool pair = call.epilogue == Epilogue::kSwiGlu;
  const int64_t width = pair ? w.n / 2 : w.n;
  const int64_t panels = (pair ? 2 : 1) * blocks(width, kPanel);
  const int64_t padded = blocks(w.k, kBlock) * kBlock;
  const int64_t weights = panels * kPanel * (w.format == WeightFormat::kFloat32 ? w.k : padded);
  const int64_t bits[] = {32, 8, 4};
  on_device.weight.data = operands.put_bytes(
      w.data, static_cast<size_t>(weights * bits[static_cast<int>(w.format)] / 8));
  const bool scaled = w.format != WeightFormat::kFloat32;
  on_device.weight.scales =
      scaled ? operands.put(w.scales, panels * padded / kBlock * kPanel) : nullptr;
  on_device.weight.bias = operands.put(w.bias, w.n);
  on_device.packed = operands.put_bytes(
      call.packed, linear_packed_bytes({w.format, call.activations, call.rows, w.k}));
  on_device.residual = operands.put(call.residual, call.rows * w.n);
  on_device.y = operands.in_out(call.y, call.rows * width);
  operands.finish(library->linear(nullptr, on_device, unit_begin, unit_end));
}

AttentionShape put_shape(Operands& operands, const AttentionShape& shape) {
  AttentionShape on_device = shape;
  on_device.q_norm = operands.put(shape.q_norm, shape.head_dim);
  on_device.k_norm = operands.put(shape.k_norm, shape.head_dim);
  return on_device;
}

void attention_prepare(const AttentionShape& shape, const float* qkv, const float* cos,
                       const float* sin, int64_t head_begin, int64_t head_end, float* q_out,
                       void* page, int64_t slot) {
  Operands operands(*library);
  const cuda::RowSlot at{0, static_cast<int32_t>(slot)};
  cuda::PrepareCall call;
  call.shape = put_shape(operands, shape);
  call.rows = 1;
  call.stride = (shape.heads + 2 * shape.kv_heads) * shape.head_dim;
  call.qkv = operands.put(qkv, call.stride);
  call.cos = operands.put(cos, shape.rotary_dim / 2);
  call.sin = operands.put(sin, shape.rotary_dim / 2);
  call.slots = operands.put(&at, 1);
  call.arena = operands.in_out(static_cast<uint8_t*>(page), shape.page_bytes());
  call.head_begin = head_begin;
  call.head_end = head_end;
  call.q_out = operands.in_out(q_out, shape.heads * shape.head_dim);
  operands.finish(library->attention_prepare(nullptr, call));
}

void attention(const AttentionShape& shape, const float* q, int64_t position, int64_t rows,
               const int32_t* pages, const void* arena, int64_t kv_head, float* out) {
  if (rows == 0) return;
  Operands operands(*library);
  const int64_t group = shape.heads / shape.kv_heads;
  const int64_t listed = blocks(position + rows, kPage);
  const int64_t stride = shape.heads * shape.head_dim;
  std::vector<cuda::QueryTile> tiles;
  for (int64_t first = 0; first < rows * group; first += cuda::kTileQueries) {
    const int64_t count = std::min<int64_t>(cuda::kTileQueries, rows * group - first);
    tiles.push_back({0, static_cast<int32_t>(position), 0, 0, static_cast<int32_t>(first),
                     static_cast<int32_t>(count)});
  }
  cuda::AttendCall call;
  call.shape = put_shape(operands, shape);
  call.q = operands.put(q, rows * stride);
  call.tile_count = static_cast<int64_t>(tiles.size());
  call.tiles = operands.put(tiles.data(), call.tile_count);
  call.pages = operands.put(pages, listed);
  const int64_t last = *std::max_element(pages, pages + listed) + 1;
  call.arena = operands.put_bytes(arena, static_cast<size_t>(last * shape.page_bytes()));
  call.head_begin = kv_head;
  call.head_end = kv_head + 1;
  call.out = operands.in_out(out, rows * stride);
  operands.finish(library->attention(nullptr, call));
}

void copy_page(const AttentionShape& shape, const void* source, void* target, int64_t tokens) {
  Operands operands(*library);
  const void* from = operands.put_bytes(source, static_cast<size_t>(shape.page_bytes()));
  auto* to = operands.in_out(static_cast<uint8_t*>(target), shape.page_bytes());
  operands.finish(library->copy_page(nullptr, shape, from, to, tokens));
}

void sigmoid_gate(const float* gate, int64_t gate_stride, int64_t rows, int64_t width, float* x,
                  int64_t stride) {
  if (rows == 0) return;
  Operands operands(*library);
  cuda::GateCall call;
  call.gate = operands.put(gate, (rows - 1) * gate_stride + width);
  call.gate_stride = gate_stride;
  call.count = rows;
  call.width = width;
  call.x = operands.in_out(x, (rows - 1) * stride + width);
  call.stride = stride;
  operands.finish(library->sigmoid_gate(nullptr, call));
}

struct DeltaOperands {
  Operands operands{*library};
  DeltaShape shape;
  DeltaCall call;

  DeltaOperands(const DeltaShape& from, const DeltaCall& given) : shape(from), call(given) {
    const int64_t channels = delta_channels(from), width = delta_out_width(from);
    shape.conv_weight = operands.put(from.conv_weight, channels * from.conv_width);
    shape.a_log = operands.put(from.a_log, from.v_heads);
    shape.dt_bias = operands.put(from.dt_bias, from.v_heads);
    shape.norm = operands.put(from.norm, from.v_dim);
    call.qkvz = operands.put(given.qkvz, given.rows * (channels + width));
    call.ba = operands.put(given.ba, given.rows * 2 * from.v_heads);
    state(given.conv_source, given.conv_target, channels * (from.conv_width - 1), call.conv_source,
          call.conv_target);
    state(given.delta_source, given.delta_target, from.v_heads * from.k_dim * from.v_dim,
          call.delta_source, call.delta_target);
    call.qkv = operands.in_out(given.qkv, given.rows * channels);
    call.gates = operands.in_out(given.gates, given.rows * 2 * from.v_heads);
    call.out = operands.in_out(given.out, given.rows * width);
  }

  // One memory where the caller has one.
  void state(const float* source, float* target, int64_t count, const float*& from, float*& to) {
    to = operands.in_out(target, count);
    from = source == target ? to : operands.put(source, count);
  }
};

void delta_prepare(const DeltaShape& shape, const DeltaCall& call, int64_t unit_begin,
                   int64_t unit_end) {
  DeltaOperands device(shape, call);
  device.operands.finish(
      library->delta_prepare(nullptr, device.shape, device.call, unit_begin, unit_end));
}

void delta_rule(const DeltaShape& shape, const DeltaCall& call, int64_t head_begin,
                int64_t head_end) {
  DeltaOperands device(shape, call);
  device.operands.finish(
      library->delta_rule(nullptr, device.shape, device.call, head_begin, head_end));
}

}  // namespace

const KernelTable* device_table(const cuda::Table& given, const char* name) {
  library = &given;
  static const KernelTable table = {name,
                                    given.describe(),
                                    false,
                                    rms_norm,
                                    embed,
                                    read_row,
                                    read_rows,
                                    linear_blocks,
                                    linear_packed_bytes,
                                    linear_pack,
                                    linear,
                                    attention_prepare,
                                    attention,
                                    copy_page,
                                    sigmoid_gate,
                                    delta_prepare,
                                    delta_rule};
  return &table;
}

const cuda::Table* open_cuda(const std::string& path, std::string& problem) {
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    problem = dlerror();
    return nullptr;
  }
  using Entry = const cuda::Table* (*)();
  const auto entry = reinterpret_cast<Entry>(dlsym(handle, cuda::kTableSymbol));
  const cuda::Table* table = entry != nullptr ? entry() : nullptr;
  if (table == nullptr || table->version != cuda::kTableVersion) {
    problem = "not a library of GPU kernels of this version";
    return nullptr;
  }
  if (const cuda::Problem found = table->problem(); found != nullptr) {
    problem = found;
    return nullptr;
  }
  return table;
}

}  // namespace stepguard
