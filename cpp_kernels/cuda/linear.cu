// Linear: rows to integers where that is asked for, and which kernel runs.
#include "../integer_rows.h"
#include "linear.h"
#include "packed_rows.h"

namespace stepguard::cuda {
namespace {

constexpr int kThreads = 128;

// Element i of a block as an integer.
SG_DEVICE int32_t round_element(float x, const IntegerScale& scale) {
  return scale.inverse == 0.0F ? 0 : static_cast<int32_t>(rintf(x * scale.inverse));
}

SG_DEVICE IntegerScale scale_of(const float* x, int64_t count, WeightFormat format) {
  uint32_t most = 0;
  for (int64_t i = 0; i < count; ++i) {
    const float magnitude = fabsf(x[i]);
    uint32_t bits;
    memcpy(&bits, &magnitude, sizeof bits);
    most = bits > most ? bits : most;
  }
  return integer_scale(most, integer_levels(format));
}

// Where element i of a block of 32 lies among the words beside int4 weights, and in which byte.
SG_DEVICE int nibble_word(int i) { return i / 8 + (i % 2 == 0 ? 0 : kWords / 2); }
SG_DEVICE int nibble_byte(int i) { return i % 8 / 2; }

// A thread has one block of one row.
SG_KERNEL round_rows(LinearInput input, const float* x, PackedRows packed) {
  const int64_t first = block_index() * kThreads;
  SG_THREADS(t) {
    const int64_t row = (first + t) / packed.blocks, block = (first + t) % packed.blocks;
    if (row >= input.rows) continue;
    const int64_t left = input.k - block * kBlock;
    const int count = static_cast<int>(left < kBlock ? left : kBlock);
    const float* from = x + row * input.k + block * kBlock;
    const IntegerScale scale = scale_of(from, count, input.format);
    uint32_t words[2 * kWords] = {};
    for (int i = 0; i < count; ++i) {
      const auto value = static_cast<uint32_t>(round_element(from[i], scale));
      if (packed.planes == 1) {
        words[nibble_word(i)] |= (value & 255U) << (8 * nibble_byte(i));
      } else {
        words[i / 4] |= (value >> 8 & 255U) << (i % 4 * 8);
        words[kWords + i / 4] |= (value & 255U) << (i % 4 * 8);
      }
    }
    for (int w = 0; w < packed.planes * kWords; ++w) packed.block(row, block)[w] = words[w];
    packed.scale(row, block) = scale.scale;
  }
}

}  // namespace

size_t linear_packed_bytes(const LinearInput& input) {
  if (input.activations == Activations::kFloat32) return 0;
  const PackedRows packed = packed_rows(input.format, input.rows, input.k, nullptr);
  const auto blocks = static_cast<size_t>(input.rows * packed.blocks);
  return blocks * (static_cast<size_t>(packed.planes * kWords) * sizeof(uint32_t) + sizeof(float));
}

Problem linear_pack(Stream stream, const LinearInput& input, const float* x, void* packed) {
  if (input.activations == Activations::kFloat32) return nullptr;
  const PackedRows rows = packed_rows(input.format, input.rows, input.k, packed);
  const int64_t blocks = (input.rows * rows.blocks + kThreads - 1) / kThreads;
  return launch(round_rows, blocks, kThreads, stream, input, x, rows);
}

Problem linear(Stream stream, const LinearCall& call, int64_t unit_begin, int64_t unit_end) {
  const bool floats = call.activations == Activations::kFloat32;
  return (floats ? linear_float : linear_tiles)(stream, call, unit_begin, unit_end);
}

}  // namespace stepguard::cuda
