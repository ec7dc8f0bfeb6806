// Attention and what comes before it as `bench kernels` runs them, cut into threads as the adapter
// in cpp_kernels/ort/ cuts them.
#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "op_cases.h"

namespace stepguard {
namespace {

AttentionShape attention_shape(const OpSizes& sizes) {
  AttentionShape shape;
  shape.heads = size_of(sizes, "heads");
  shape.kv_heads = size_of(sizes, "kv_heads");
  shape.head_dim = size_of(sizes, "head_dim", 1, kMaxHeadDim);
  if (shape.heads % shape.kv_heads != 0) {
    throw std::invalid_argument("sizes: heads: expected a multiple of kv_heads");
  }
  shape.scale = 1.0F / std::sqrt(static_cast<float>(shape.head_dim));
  shape.kv_half = size_of(sizes, "half", 0, 1) == 1;
  return shape;
}

// Rows at the end of a context, which they count among.
class AttentionCase final : public OpCase {
 public:
  explicit AttentionCase(const OpSizes& sizes) : shape_(attention_shape(sizes)) {
    rows_ = size_of(sizes, "rows");
    position_ = size_of(sizes, "context", rows_) - rows_;
    const int64_t width = shape_.heads * shape_.head_dim, keys = position_ + rows_;
    pages_ = ceiling(keys, kPage);
    const double arena = static_cast<double>(pages_ * shape_.page_bytes());
    copies_ = copies_of(arena);
    const int64_t values = pages_ * shape_.kv_heads * 2 * kPage * shape_.head_dim;
    lines_ = ceiling(pages_ * shape_.page_bytes(), 64);
    arena_.resize(static_cast<size_t>(copies_ * lines_));
    for (int64_t i = 0; i < values; ++i) write(i, random_.real());
    for (int64_t copy = 1; copy < copies_; ++copy) {
      std::copy_n(arena_.begin(), lines_, arena_.begin() + copy * lines_);
    }
    for (int64_t i = 0; i < pages_; ++i) list_.push_back(static_cast<int32_t>(i));
    q_ = random_.reals(rows_ * width);
    out.resize(q_.size());
    bytes = arena + 8.0 * static_cast<double>(rows_ * width);
    const int64_t pairs = rows_ * position_ + rows_ * (rows_ + 1) / 2;
    operations = 4.0 * static_cast<double>(pairs * width);
  }

  void run(const KernelTable& table, ThreadPool& pool, int64_t turn) override {
    const int64_t tile = std::max<int64_t>(1, kTileQueries * shape_.kv_heads / shape_.heads);
    const int64_t tiles = ceiling(rows_, tile), width = shape_.heads * shape_.head_dim;
    const Line* arena = arena_.data() + turn % copies_ * lines_;
    pool.for_range(tiles * shape_.kv_heads, 1, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        const int64_t row = item / shape_.kv_heads * tile;
        table.attention(shape_, q_.data() + row * width, position_ + row,
                        std::min(tile, rows_ - row), list_.data(), arena, item % shape_.kv_heads,
                        out.data() + row * width);
      }
    });
  }

 private:
  static constexpr int64_t kTileQueries = 64;

  void write(int64_t index, float value) {
    auto* at = reinterpret_cast<uint8_t*>(arena_.data());
    if (shape_.kv_half) {
      const uint16_t half = float_to_half(value);
      std::copy_n(reinterpret_cast<const uint8_t*>(&half), 2, at + 2 * index);
    } else {
      std::copy_n(reinterpret_cast<const uint8_t*>(&value), 4, at + 4 * index);
    }
  }

  Random random_;
  AttentionShape shape_;
  int64_t rows_ = 0, position_ = 0, pages_ = 0, lines_ = 0, copies_ = 1;
  std::vector<Line> arena_;
  std::vector<int32_t> list_;
  std::vector<float> q_;
};

// Norm and rotation of q; the pages that are written are not compared here.
class PrepareCase final : public OpCase {
 public:
  explicit PrepareCase(const OpSizes& sizes) : shape_(attention_shape(sizes)) {
    rows_ = size_of(sizes, "rows");
    shape_.rotary_dim = size_of(sizes, "rotary_dim", 0, shape_.head_dim) / 2 * 2;
    norm_ = random_.reals(shape_.head_dim, 0.5F, 1.0F);
    shape_.q_norm = shape_.k_norm = norm_.data();
    qkv_ = random_.reals(rows_ * width());
    for (int64_t i = 0; i < rows_ * shape_.rotary_dim / 2; ++i) {
      cos_.push_back(std::cos(static_cast<float>(i)));
      sin_.push_back(std::sin(static_cast<float>(i)));
    }
    const int64_t pages = ceiling(rows_, kPage);
    page_.resize(static_cast<size_t>(ceiling(pages * shape_.page_bytes(), 64)));
    out.resize(static_cast<size_t>(rows_ * shape_.heads * shape_.head_dim));
    const int64_t kv = rows_ * 2 * shape_.kv_heads * shape_.head_dim * (shape_.kv_half ? 2 : 4);
    bytes = 4.0 * static_cast<double>(rows_ * width()) + 4.0 * static_cast<double>(out.size()) +
            static_cast<double>(kv);
    // A norm takes three operations, a rotation three.
    operations = 6.0 * static_cast<double>(rows_ * (shape_.heads + shape_.kv_heads)) *
                 static_cast<double>(shape_.head_dim);
  }

  void run(const KernelTable& table, ThreadPool& pool, int64_t) override {
    const int64_t half = shape_.rotary_dim / 2, wide = shape_.heads * shape_.head_dim;
    auto* pages = reinterpret_cast<uint8_t*>(page_.data());
    pool.for_range(rows_, 8, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        table.attention_prepare(shape_, qkv_.data() + r * width(), cos_.data() + r * half,
                                sin_.data() + r * half, 0, shape_.kv_heads, out.data() + r * wide,
                                pages + r / kPage * shape_.page_bytes(), r % kPage);
      }
    });
  }

 private:
  int64_t width() const { return (shape_.heads + 2 * shape_.kv_heads) * shape_.head_dim; }

  Random random_;
  AttentionShape shape_;
  int64_t rows_ = 0;
  std::vector<float> norm_, qkv_, cos_, sin_;
  std::vector<Line> page_;
};

}  // namespace

std::unique_ptr<OpCase> make_attention_case(const OpSizes& sizes) {
  return std::make_unique<AttentionCase>(sizes);
}

std::unique_ptr<OpCase> make_attention_prepare_case(const OpSizes& sizes) {
  return std::make_unique<PrepareCase>(sizes);
}

}  // namespace stepguard
