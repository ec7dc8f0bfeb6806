// Float32 rows and decoded weights: one chain of multiply-adds along k for every output, the same
// bits as the vector tables of CPUs.
#include "linear.h"

namespace stepguard::cuda {
namespace {

SG_DEVICE void add_weight(const LinearCall& call, const Column& column, int64_t k, float weight,
                          RowSums& sums) {
  const float* x = static_cast<const float*>(call.packed) + column.row * call.weight.k + k;
  SG_UNROLL
  for (int r = 0; r < kRowsEach; ++r) {
    if (r < column.rows) sums.of[r] = fmaf(x[r * call.weight.k], weight, sums.of[r]);
  }
}

struct Float32Weights {
  SG_DEVICE void add(const LinearCall& call, const Column& column, RowSums& sums) {
    const int64_t k = call.weight.k;
    const float* data = static_cast<const float*>(call.weight.data) + column.panel * k * kPanel;
    for (int64_t i = 0; i < k; ++i) {
      add_weight(call, column, i, data[i * kPanel + column.lane], sums);
    }
  }
};

// `Each` weights a word, decoded by Decode(word, i).
template <int Each, class Decode>
SG_DEVICE void add_decoded(const LinearCall& call, const Column& column, RowSums& sums,
                           Decode decode) {
  for (int64_t block = 0; block < k_blocks(call.weight); ++block) {
    const float scale = weight_scale(call.weight, column, block);
    for (int word = 0; word < kBlock / Each; ++word) {
      const uint32_t bits = weight_word(call.weight, column, block, word);
      for (int i = 0; i < Each; ++i) {
        const int64_t k = block * kBlock + word * Each + i;
        if (k < call.weight.k) add_weight(call, column, k, scale * decode(bits, i), sums);
      }
    }
  }
}

struct DecodeInt8 {
  SG_MEMBER float operator()(uint32_t word, int i) const {
    return static_cast<float>(static_cast<int8_t>(word >> (8 * i)));
  }
};

struct DecodeInt4 {
  SG_MEMBER float operator()(uint32_t word, int i) const {
    return static_cast<float>(static_cast<int>(word >> (4 * i) & 15U) - 8);
  }
};

struct Int8Weights {
  SG_DEVICE void add(const LinearCall& call, const Column& column, RowSums& sums) {
    add_decoded<4>(call, column, sums, DecodeInt8());
  }
};

struct Int4Weights {
  SG_DEVICE void add(const LinearCall& call, const Column& column, RowSums& sums) {
    add_decoded<8>(call, column, sums, DecodeInt4());
  }
};

}  // namespace

Problem linear_float(Stream stream, const LinearCall& call, int64_t unit_begin, int64_t unit_end) {
  switch (call.weight.format) {
    case WeightFormat::kInt8:
      return launch_multiply<Int8Weights>(stream, call, unit_begin, unit_end);
    case WeightFormat::kInt4:
      return launch_multiply<Int4Weights>(stream, call, unit_begin, unit_end);
    case WeightFormat::kFloat32:
      break;
  }
  return launch_multiply<Float32Weights>(stream, call, unit_begin, unit_end);
}

}  // namespace stepguard::cuda
