// The operations as `bench kernels` runs them: the sizes of a layer, random numbers, and the cut
// into threads that the adapters of cpp_kernels/ort/ make.
#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "op_bench.h"

namespace stepguard {
namespace {

constexpr double kNoCacheHolds = 128e6;  // bytes of all copies together
constexpr int64_t kMostCopies = 64;

struct alignas(64) Line {
  uint8_t bytes[64];
};

class Random {
 public:
  uint32_t bits() {
    state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<uint32_t>(state_ >> 32);
  }
  // From -1 to 1.
  float real() { return static_cast<float>(bits()) * 0x1p-31F - 1.0F; }
  std::vector<float> reals(int64_t count, float size = 1.0F, float middle = 0.0F) {
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = middle + size * real();
    return values;
  }

 private:
  uint64_t state_ = 88172645463325252ULL;
};

int64_t size_of(const OpSizes& sizes, const std::string& name, int64_t least = 1,
                int64_t most = int64_t{1} << 20) {
  const auto found = sizes.find(name);
  if (found == sizes.end()) throw std::invalid_argument("sizes: " + name + " is missing");
  if (found->second < least || found->second > most) {
    throw std::invalid_argument("sizes: " + name + ": expected " + std::to_string(least) + " to " +
                                std::to_string(most) + ", got " + std::to_string(found->second));
  }
  return found->second;
}

int64_t copies_of(double bytes) {
  return std::clamp(static_cast<int64_t>(kNoCacheHolds / bytes), int64_t{1}, kMostCopies);
}

int64_t ceiling(int64_t a, int64_t b) { return (a + b - 1) / b; }

class LinearCase final : public OpCase {
 public:
  explicit LinearCase(const OpSizes& sizes) {
    const int64_t rows = size_of(sizes, "rows"), k = size_of(sizes, "k");
    call_.weight.n = size_of(sizes, "n");
    call_.weight.k = k;
    call_.weight.format = static_cast<WeightFormat>(size_of(sizes, "format", 0, 2));
    const bool plain = call_.weight.format == WeightFormat::kFloat32;
    call_.activations = static_cast<Activations>(size_of(sizes, "activations", 0, plain ? 0 : 2));
    call_.epilogue = static_cast<Epilogue>(size_of(sizes, "epilogue", 0, 2));
    call_.rows = rows;
    const bool pair = call_.epilogue == Epilogue::kSwiGlu;
    width_ = pair ? call_.weight.n / 2 : call_.weight.n;
    const int64_t panels = ceiling(width_, kPanel) * (pair ? 2 : 1), blocks = ceiling(k, kBlock);
    const bool int4 = call_.weight.format == WeightFormat::kInt4;
    const int64_t panel = plain ? k * kPanel * 4 : blocks * kBlock * kPanel / (int4 ? 2 : 1);
    lines_ = ceiling(panels * panel, 64);
    scales_ = plain ? 0 : panels * blocks * kPanel;
    const double weights = static_cast<double>(panels * panel + 2 * scales_);
    copies_ = copies_of(weights);
    fill(plain);
    x_ = random_.reals(rows * k);
    residual_ = random_.reals(rows * width_);
    out.resize(static_cast<size_t>(rows * width_));
    bytes = weights + 4.0 * static_cast<double>(rows * (k + width_));
    operations = 2.0 * static_cast<double>(rows * k * call_.weight.n);
    if (call_.activations == Activations::kInt8) arithmetic = int4 ? "int8" : "int16";
    if (call_.activations == Activations::kBfloat16) arithmetic = "bf16";
  }

  void run(const KernelTable& table, ThreadPool& pool, int64_t turn) override {
    LinearCall call = call_;
    call.weight.data = data_.data() + turn % copies_ * lines_;
    call.weight.scales = scales_ == 0 ? nullptr : scale_.data() + turn % copies_ * scales_;
    call.residual = call.epilogue == Epilogue::kResidual ? residual_.data() : nullptr;
    call.y = out.data();
    const LinearInput input{call.weight.format, call.activations, call.rows, call.weight.k};
    packed_.resize(table.linear_packed_bytes(input) / sizeof(Line) + 1);
    pool.for_range(table.linear_blocks(input), 4, [&](int64_t begin, int64_t end) {
      table.linear_pack(input, x_.data(), begin, end, packed_.data());
    });
    call.packed = packed_.data();
    pool.for_range(ceiling(width_, kPanel), 2,
                   [&](int64_t begin, int64_t end) { table.linear(call, begin, end); });
  }

 private:
  void fill(bool plain) {
    data_.resize(static_cast<size_t>(copies_ * lines_));
    for (int64_t i = 0; i < lines_ * 16; ++i) {
      const float real = random_.real();
      const uint32_t bits = random_.bits();
      auto* at = reinterpret_cast<uint8_t*>(data_.data()) + 4 * i;
      std::copy_n(
          plain ? reinterpret_cast<const uint8_t*>(&real) : reinterpret_cast<const uint8_t*>(&bits),
          4, at);
    }
    scale_.resize(static_cast<size_t>(copies_ * scales_));
    for (int64_t i = 0; i < scales_; ++i) {
      scale_[static_cast<size_t>(i)] = float_to_half(0.01F + 0.005F * random_.real());
    }
    for (int64_t copy = 1; copy < copies_; ++copy) {
      std::copy_n(data_.begin(), lines_, data_.begin() + copy * lines_);
      std::copy_n(scale_.begin(), scales_, scale_.begin() + copy * scales_);
    }
  }

  Random random_;
  LinearCall call_;
  int64_t width_ = 0, lines_ = 0, scales_ = 0, copies_ = 1;
  std::vector<Line> data_, packed_;
  std::vector<uint16_t> scale_;
  std::vector<float> x_, residual_;
};

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

class DeltaCase final : public OpCase {
 public:
  DeltaCase(const OpSizes& sizes, bool rule) : rule_(rule) {
    rows_ = size_of(sizes, "rows");
    shape_.k_heads = size_of(sizes, "k_heads");
    shape_.v_heads = size_of(sizes, "v_heads");
    shape_.k_dim = size_of(sizes, "k_dim", 1, kMaxHeadDim);
    shape_.v_dim = size_of(sizes, "v_dim", 1, kMaxHeadDim);
    shape_.conv_width = size_of(sizes, "conv_width", 2, kMaxConvWidth);
    if (shape_.v_heads % shape_.k_heads != 0) {
      throw std::invalid_argument("sizes: v_heads: expected a multiple of k_heads");
    }
    values_ = shape_.v_heads * shape_.v_dim;
    channels_ = 2 * shape_.k_heads * shape_.k_dim + values_;
    state_ = values_ * shape_.k_dim;
    copies_ = copies_of(8.0 * static_cast<double>(state_));
    fill();
    out.resize(static_cast<size_t>(rows_ * (rule_ ? values_ : channels_)));
    const auto rows = static_cast<double>(rows_);
    const auto state = static_cast<double>(state_), channels = static_cast<double>(channels_);
    if (rule_) {
      bytes = 8.0 * state + 4.0 * rows * (channels + 2.0 * static_cast<double>(values_));
      operations = 7.0 * rows * state;  // decay, k S, the update and q S
    } else {
      bytes = 8.0 * rows * channels;
      operations = 2.0 * rows * channels * static_cast<double>(shape_.conv_width);
    }
  }

  void run(const KernelTable& table, ThreadPool& pool, int64_t turn) override {
    DeltaCall call;
    call.rows = rows_;
    call.qkvz = qkvz_.data();
    call.ba = ba_.data();
    call.conv_source = conv_.data();
    call.delta_source = source_.data() + turn % copies_ * state_;
    call.delta_target = target_.data() + turn % copies_ * state_;
    call.gates = gates_.data();
    call.qkv = rule_ ? qkv_.data() : out.data();
    call.out = rule_ ? out.data() : nullptr;
    if (!rule_ || !prepared_) {
      const int64_t units = 2 * shape_.k_heads + shape_.v_heads;
      pool.for_range(units, 1, [&](int64_t begin, int64_t end) {
        table.delta_prepare(shape_, call, begin, end);
      });
      prepared_ = true;
    }
    if (!rule_) return;
    pool.for_range(shape_.v_heads, 1,
                   [&](int64_t begin, int64_t end) { table.delta_rule(shape_, call, begin, end); });
  }

 private:
  void fill() {
    conv_weight_ = random_.reals(channels_ * shape_.conv_width);
    a_log_ = random_.reals(shape_.v_heads);
    dt_bias_ = random_.reals(shape_.v_heads);
    norm_ = random_.reals(shape_.v_dim, 0.5F, 1.0F);
    shape_.conv_weight = conv_weight_.data();
    shape_.a_log = a_log_.data();
    shape_.dt_bias = dt_bias_.data();
    shape_.norm = norm_.data();
    qkvz_ = random_.reals(rows_ * (channels_ + values_));
    ba_ = random_.reals(rows_ * 2 * shape_.v_heads);
    conv_ = random_.reals(channels_ * (shape_.conv_width - 1));
    source_ = random_.reals(state_);
    source_.resize(static_cast<size_t>(copies_ * state_));
    for (int64_t copy = 1; copy < copies_; ++copy) {
      std::copy_n(source_.begin(), state_, source_.begin() + copy * state_);
    }
    target_.resize(source_.size());
    qkv_.resize(static_cast<size_t>(rows_ * channels_));
    gates_.resize(static_cast<size_t>(rows_ * 2 * shape_.v_heads));
  }

  Random random_;
  DeltaShape shape_;
  bool rule_, prepared_ = false;
  int64_t rows_ = 0, values_ = 0, channels_ = 0, state_ = 0, copies_ = 1;
  std::vector<float> conv_weight_, a_log_, dt_bias_, norm_, qkvz_, ba_, conv_, source_, target_;
  std::vector<float> qkv_, gates_;
};

// Operations on rows of a width: a norm, a gate, and an 8-bit table that is read by id.
class RowsCase final : public OpCase {
 public:
  RowsCase(const std::string& op, const OpSizes& sizes)
      : op_(op), rows_(size_of(sizes, "rows")), width_(size_of(sizes, "width")) {
    x_ = random_.reals(rows_ * width_);
    weight_ = random_.reals(width_, 0.5F, 1.0F);
    const bool table = op == "embed" || op == "read_row";
    if (table) {
      const int64_t blocks = ceiling(width_, kBlock);
      for (int64_t i = 0; i < rows_ * width_; ++i) {
        table_.push_back(static_cast<int8_t>(random_.bits()));
      }
      for (int64_t i = 0; i < rows_ * blocks; ++i) {
        scales_.push_back(float_to_half(0.01F + 0.005F * random_.real()));
      }
      for (int64_t i = 0; i < rows_; ++i) ids_.push_back(static_cast<int32_t>(rows_ - 1 - i));
    }
    out.resize(static_cast<size_t>(op == "read_row" ? rows_ : rows_ * width_));
    const auto size = static_cast<double>(rows_ * width_);
    const double stored = static_cast<double>(table_.size() + 2 * scales_.size());
    bytes = (table ? stored : 4.0 * size) + 4.0 * static_cast<double>(out.size());
    operations = (op == "rms_norm" ? 4.0 : 2.0) * size;
  }

  void run(const KernelTable& table, ThreadPool& pool, int64_t) override {
    if (op_ == "sigmoid_gate") std::copy(x_.begin(), x_.end(), out.begin());
    pool.for_range(rows_, 16, [&](int64_t begin, int64_t end) {
      const int64_t count = end - begin, at = begin * width_;
      if (op_ == "rms_norm") {
        table.rms_norm(x_.data() + at, weight_.data(), 1e-6F, 0.0F, count, width_, out.data() + at);
      } else if (op_ == "sigmoid_gate") {
        table.sigmoid_gate(x_.data() + at, width_, count, width_, out.data() + at, width_);
      } else if (op_ == "embed") {
        table.embed(ids_.data() + begin, count, table_.data(), scales_.data(), width_,
                    out.data() + at);
      } else {
        for (int64_t r = begin; r < end; ++r) {
          out[static_cast<size_t>(r)] = table.read_row(x_.data(), ids_[static_cast<size_t>(r)],
                                                       table_.data(), scales_.data(), width_);
        }
      }
    });
  }

 private:
  Random random_;
  std::string op_;
  int64_t rows_, width_;
  std::vector<float> x_, weight_;
  std::vector<int8_t> table_;
  std::vector<uint16_t> scales_;
  std::vector<int32_t> ids_;
};

}  // namespace

std::unique_ptr<OpCase> make_op_case(const std::string& op, const OpSizes& sizes) {
  if (op == "linear") return std::make_unique<LinearCase>(sizes);
  if (op == "attention") return std::make_unique<AttentionCase>(sizes);
  if (op == "attention_prepare") return std::make_unique<PrepareCase>(sizes);
  if (op == "delta_prepare") return std::make_unique<DeltaCase>(sizes, false);
  if (op == "delta_rule") return std::make_unique<DeltaCase>(sizes, true);
  for (const char* name : {"rms_norm", "sigmoid_gate", "embed", "read_row"}) {
    if (op == name) return std::make_unique<RowsCase>(op, sizes);
  }
  throw std::invalid_argument("op: unknown name " + op);
}

}  // namespace stepguard
