// Operations of GPUs that the CPU tables do not have, or not for many rows at once: against plain
// loops, and bit for bit against the same rows alone. The emulation also runs every test of the
// tables with blocks and threads in the opposite order.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "device_operands.h"
#include "device_table.h"
#include "tested_tables.h"

namespace {

using namespace stepguard;

using Floats = std::vector<float>;
using Ids = std::vector<int32_t>;

int failures = 0;

void check(bool good, const std::string& what) {
  if (good) return;
  ++failures;
  std::printf("FAILED %s\n", what.c_str());
}

bool same_bits(const Floats& a, const Floats& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

bool close(float got, double wanted, double tolerance) {
  return std::fabs(got - wanted) <= tolerance * (1.0 + std::fabs(wanted));
}

Floats random_floats(int64_t count) {
  static std::mt19937 engine(23);
  std::normal_distribution<float> normal;
  Floats values(static_cast<size_t>(count));
  for (float& value : values) value = normal(engine);
  return values;
}

Floats room(int64_t count) {
  return Floats(static_cast<size_t>(count), std::numeric_limits<float>::quiet_NaN());
}

// Labels among the ids that are read have rows of their own, which differ from those of the table.
void test_read_out(const cuda::Table& library) {
  constexpr int64_t kWidth = 45, kRows = 3;
  const Floats x = random_floats(kRows * kWidth), table = random_floats(20 * kWidth);
  const Floats labels = random_floats(3 * kWidth);
  const Ids label_ids = {0, 7, 19};
  const Ids rows = {2, 0, 0, 1, 2, 2, 1}, ids = {0, 1, 7, 8, 18, 19, 6};
  for (size_t count = 0; count <= ids.size(); ++count) {
    Operands operands(library);
    Floats y = room(static_cast<int64_t>(count));
    cuda::Reads reads;
    reads.x = operands.put(x);
    reads.rows = operands.put(rows);
    reads.ids = operands.put(ids);
    reads.count = static_cast<int64_t>(count);
    reads.table = {operands.put(table), nullptr, kWidth};
    reads.label_ids = operands.put(label_ids);
    reads.label_rows = operands.put(labels);
    reads.labels = 3;
    float* to = operands.in_out(y);
    operands.finish(library.read_out(nullptr, reads, to));
    for (size_t i = 0; i < count; ++i) {
      const auto found = std::find(label_ids.begin(), label_ids.end(), ids[i]);
      const float* row = found == label_ids.end()
                             ? &table[static_cast<size_t>(ids[i] * kWidth)]
                             : &labels[static_cast<size_t>((found - label_ids.begin()) * kWidth)];
      double wanted = 0.0;
      for (int64_t d = 0; d < kWidth; ++d) {
        wanted += double{x[static_cast<size_t>(rows[i] * kWidth + d)]} * row[d];
      }
      check(close(y[i], wanted, 1e-5), "read_out " + std::to_string(i));
    }
  }
}

// Each word is read once, by whatever number of blocks.
void test_read_words(const cuda::Table& library) {
  using Words = std::vector<uint32_t>;
  for (const size_t count : {size_t{0}, size_t{4}, size_t{1024}, size_t{5260}}) {
    for (const size_t blocks : {size_t{1}, size_t{3}, size_t{40}}) {
      Words words(count), sums(blocks, 7);
      for (size_t i = 0; i < count; ++i) words[i] = static_cast<uint32_t>(i * 2654435761U);
      Operands operands(library);
      const uint32_t* from = operands.put(words);
      uint32_t* to = operands.in_out(sums);
      operands.finish(library.read_words(nullptr, from, static_cast<int64_t>(count),
                                         static_cast<int64_t>(blocks), to));
      uint32_t wanted = 0, got = 0;
      for (const uint32_t word : words) wanted += word;
      for (const uint32_t sum : sums) got += sum;
      check(got == wanted, "read_words " + std::to_string(count));
    }
  }
}

void test_gather(const cuda::Table& library) {
  const Floats x = random_floats(4 * 131);
  const Ids rows = {3, 0, 3};
  Floats y = room(3 * 131);
  Operands operands(library);
  const float* from = operands.put(x);
  const int32_t* which = operands.put(rows);
  float* to = operands.in_out(y);
  operands.finish(library.gather(nullptr, from, which, 3, 131, to));
  Floats wanted;
  for (const int32_t row : rows) {
    wanted.insert(wanted.end(), x.begin() + row * 131, x.begin() + (row + 1) * 131);
  }
  check(same_bits(y, wanted), "gather");
}

struct Best {
  Ids ids;
  Floats scores;
};

Best run_best(const cuda::Table& library, const Floats& logits, int64_t rows) {
  const int64_t count = static_cast<int64_t>(logits.size()) / std::max<int64_t>(rows, 1);
  Operands operands(library);
  Best best{Ids(static_cast<size_t>(rows), -1), room(rows)};
  const float* from = operands.put(logits);
  void* work = operands.scratch(library.best_bytes(rows, count));
  int32_t* ids = operands.in_out(best.ids);
  float* scores = operands.in_out(best.scores);
  operands.finish(library.best(nullptr, from, rows, count, work, ids, scores));
  return best;
}

void test_best(const cuda::Table& library) {
  for (const int64_t count : {1, 2, 255, 256, 257, 70000}) {
    const std::string what = "best of " + std::to_string(count);
    Floats logits = random_floats(3 * count);
    for (int64_t i = 0; i < count; ++i) logits[static_cast<size_t>(i)] = 1.5F;  // all equal
    logits[static_cast<size_t>(3 * count - 1)] = 9.0F;                          // the last
    const Best best = run_best(library, logits, 3);
    for (int64_t r = 0; r < 3; ++r) {
      const float* row = &logits[static_cast<size_t>(r * count)];
      const float* top = std::max_element(row, row + count);
      double sum = 0.0;
      for (int64_t i = 0; i < count; ++i) sum += std::exp(double{row[i]} - *top);
      check(best.ids[static_cast<size_t>(r)] == top - row, what + ": the first of the highest");
      check(close(best.scores[static_cast<size_t>(r)], -std::log(sum), 1e-6), what + ": score");
      const Best alone = run_best(library, Floats(row, row + count), 1);
      check(alone.ids[0] == best.ids[static_cast<size_t>(r)] &&
                same_bits(alone.scores, {best.scores[static_cast<size_t>(r)]}),
            what + ": alone");
    }
    logits[static_cast<size_t>(count)] = NAN;
    const Best bad = run_best(library, logits, 3);
    check(std::isnan(bad.scores[1]) && !std::isnan(bad.scores[0]), what + ": NaN shows");
    check(bad.ids[1] >= 0 && bad.ids[1] < count, what + ": an id beside NaN");
  }
  check(run_best(library, {}, 0).ids.empty(), "best of no rows");
}

void test_rotary(const cuda::Table& library) {
  const Ids positions = {0, 1, 31, 4096, 1000000};
  const Floats inv_freq = {1.0F, 0.3F, 1e-3F, 1e-6F, 0.7F};
  Floats cos = room(25), sin = room(25);
  Operands operands(library);
  const int32_t* at = operands.put(positions);
  const float* frequencies = operands.put(inv_freq);
  float* to_cos = operands.in_out(cos);
  float* to_sin = operands.in_out(sin);
  operands.finish(library.rotary(nullptr, at, frequencies, 5, 5, to_cos, to_sin));
  for (size_t i = 0; i < 25; ++i) {
    const float angle = static_cast<float>(positions[i / 5]) * inv_freq[i % 5];
    check(close(cos[i], std::cos(double{angle}), 1e-7), "cos " + std::to_string(i));
    check(close(sin[i], std::sin(double{angle}), 1e-7), "sin " + std::to_string(i));
  }
}

void test_gate(const cuda::Table& library) {
  constexpr int64_t kWidth = 133, kStride = 140;
  const Floats gate = random_floats(4 * kStride), x = random_floats(2 * kWidth);
  const Ids rows = {3, 1};
  Floats y = x;
  Operands operands(library);
  cuda::GateCall call;
  call.gate = operands.put(gate);
  call.gate_stride = kStride;
  call.rows = operands.put(rows);
  call.count = 2;
  call.width = kWidth;
  call.x = operands.in_out(y);
  call.stride = kWidth;
  operands.finish(library.sigmoid_gate(nullptr, call));
  for (int64_t i = 0; i < 2 * kWidth; ++i) {
    const auto at =
        static_cast<size_t>(rows[static_cast<size_t>(i / kWidth)] * kStride + i % kWidth);
    const double wanted = x[static_cast<size_t>(i)] / (1.0 + std::exp(-double{gate[at]}));
    check(close(y[static_cast<size_t>(i)], wanted, 1e-6), "gate " + std::to_string(i));
  }
}

// A batch of two segments, one on top of other keys: pages are filled by attention_prepare for all
// rows at once, and all queries attend in one call.
class Attention {
 public:
  Attention(const cuda::Table& library, bool half, int64_t heads)
      : library_(library), norm_(random_floats(kDim)) {
    shape_.heads = heads;
    shape_.kv_heads = 2;
    shape_.head_dim = kDim;
    shape_.rotary_dim = 20;
    shape_.scale = 0.2F;
    shape_.kv_half = half;
    qkv_ = random_floats(kRows * stride());
    cos_ = random_floats(kRows * 10);
    sin_ = random_floats(kRows * 10);
    arena_.resize(static_cast<size_t>(kPages * shape_.page_bytes()), 0xFF);
  }

  void test() {
    const std::string what = "attention of " + std::to_string(shape_.heads) + " heads" +
                             (shape_.kv_half ? ", half" : "");
    const std::vector<uint8_t> empty = arena_;
    const Floats q = prepare(0, kRows);
    const std::vector<uint8_t> whole = arena_;
    arena_ = empty;
    Floats again;
    for (int64_t r = 0; r < kRows; ++r) {
      const Floats row = prepare(r, 1);
      again.insert(again.end(), row.begin(), row.end());
    }
    check(same_bits(again, q) && arena_ == whole, what + ": rows prepared alone");
    const Floats all = attend(q, all_tiles(), kRows);
    check(nearly(all, reference(q)), what + ": the reference");
    const Ids reads = {40, 0, 33, 34, 59};
    const Floats some = attend(q, read_tiles(reads), static_cast<int64_t>(reads.size()));
    Floats wanted;
    for (const int32_t row : reads) {
      const auto begin = all.begin() + row * shape_.heads * kDim;
      wanted.insert(wanted.end(), begin, begin + shape_.heads * kDim);
    }
    check(same_bits(some, wanted), what + ": rows that are read, alone");

    // The last row of the first segment has values that are no numbers: those before it have the
    // same bits, in its tile too.
    const auto values = qkv_.begin() + (kFirst - 1) * stride() + (shape_.heads + 2) * kDim;
    std::fill(values, values + 2 * kDim, std::numeric_limits<float>::quiet_NaN());
    const Floats poisoned = attend(prepare(0, kRows), all_tiles(), kRows);
    const int64_t before = (kFirst - 1) * shape_.heads * kDim;
    check(same_bits({poisoned.begin(), poisoned.begin() + before},
                    {all.begin(), all.begin() + before}),
          what + ": rows before one that is no number");
    check(std::isnan(poisoned[static_cast<size_t>(before)]), what + ": a row that is no number");
  }

 private:
  static constexpr int64_t kDim = 24, kFirst = 34, kRows = 60, kPages = 4;

  // The gate's columns follow in a row.
  int64_t stride() const { return (2 * shape_.heads + 4) * kDim; }
  int64_t group() const { return shape_.heads / shape_.kv_heads; }
  // The second segment continues after position 31 of the first.
  static int64_t position(int64_t row) { return row < kFirst ? row : row - kFirst + 32; }
  static int64_t segment_begin(int64_t row) { return row < kFirst ? 0 : kFirst; }
  // Segment 0 has pages 2, 0; segment 1 has 2, 3: its first 32 positions are those of segment 0.
  Ids pages() const { return {2, 0, 2, 3}; }
  static int32_t page_start(int64_t row) { return row < kFirst ? 0 : 2; }

  Floats prepare(int64_t first, int64_t rows) {
    std::vector<cuda::RowSlot> slots;
    for (int64_t r = first; r < first + rows; ++r) {
      const auto at = static_cast<size_t>(page_start(r) + position(r) / kPage);
      slots.push_back({pages()[at], static_cast<int32_t>(position(r) % kPage)});
    }
    Floats q = room(rows * shape_.heads * kDim);
    Operands operands(library_);
    cuda::PrepareCall call;
    call.shape = shape_;
    call.shape.q_norm = operands.put(norm_);
    call.qkv = operands.put(&qkv_[static_cast<size_t>(first * stride())], rows * stride());
    call.rows = rows;
    call.stride = stride();
    call.cos = operands.put(&cos_[static_cast<size_t>(first * 10)], rows * 10);
    call.sin = operands.put(&sin_[static_cast<size_t>(first * 10)], rows * 10);
    call.slots = operands.put(slots);
    call.arena = operands.in_out(arena_);
    call.head_end = shape_.kv_heads;
    call.q_out = operands.in_out(q);
    operands.finish(library_.attention_prepare(nullptr, call));
    return q;
  }

  void add_tiles(std::vector<cuda::QueryTile>& tiles, int64_t row, int64_t rows,
                 int64_t out) const {
    const int64_t begin = segment_begin(row);
    const int64_t end = (row + rows - begin) * group();
    for (int64_t i = (row - begin) * group(); i < end; i += cuda::kTileQueries) {
      tiles.push_back({page_start(row), static_cast<int32_t>(position(begin)),
                       static_cast<int32_t>(begin), static_cast<int32_t>(out - (row - begin)),
                       static_cast<int32_t>(i),
                       static_cast<int32_t>(std::min<int64_t>(cuda::kTileQueries, end - i))});
    }
  }
  std::vector<cuda::QueryTile> all_tiles() const {
    std::vector<cuda::QueryTile> tiles;
    add_tiles(tiles, 0, kFirst, 0);
    add_tiles(tiles, kFirst, kRows - kFirst, kFirst);
    return tiles;
  }
  std::vector<cuda::QueryTile> read_tiles(const Ids& reads) const {
    std::vector<cuda::QueryTile> tiles;
    for (size_t m = 0; m < reads.size(); ++m) {
      add_tiles(tiles, reads[m], 1, static_cast<int64_t>(m));
    }
    return tiles;
  }

  Floats attend(const Floats& q, const std::vector<cuda::QueryTile>& tiles, int64_t rows) {
    Floats out = room(rows * shape_.heads * kDim);
    Operands operands(library_);
    cuda::AttendCall call;
    call.shape = shape_;
    call.q = operands.put(q);
    call.tiles = operands.put(tiles);
    call.tile_count = static_cast<int64_t>(tiles.size());
    call.pages = operands.put(pages());
    call.arena = operands.put(arena_);
    call.head_end = shape_.kv_heads;
    call.out = operands.in_out(out);
    operands.finish(library_.attention(nullptr, call));
    return out;
  }

  Floats reference(const Floats& q) const {
    Floats out = room(kRows * shape_.heads * kDim);
    const KernelTable& table = *find_table("generic");
    const Ids list = pages();
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t head = 0; head < shape_.kv_heads; ++head) {
        table.attention(shape_, &q[static_cast<size_t>(r * shape_.heads * kDim)], position(r), 1,
                        list.data() + page_start(r), arena_.data(), head,
                        &out[static_cast<size_t>(r * shape_.heads * kDim)]);
      }
    }
    return out;
  }

  static bool nearly(const Floats& got, const Floats& wanted) {
    for (size_t i = 0; i < got.size(); ++i) {
      if (!close(got[i], wanted[i], 2e-6)) return false;
    }
    return true;
  }

  const cuda::Table& library_;
  AttentionShape shape_;
  Floats norm_, qkv_, cos_, sin_;
  std::vector<uint8_t> arena_;
};

// Integer rows times weights, on tensor cores and without.
class Integers {
 public:
  Integers(const cuda::Table& library, WeightFormat format, Epilogue epilogue, int64_t n, int64_t k)
      : library_(library), x_(random_floats(kRows * k)), residual_(random_floats(kRows * n)) {
    const bool pair = epilogue == Epilogue::kSwiGlu;
    const int64_t panels = (pair ? 2 : 1) * ((width(epilogue, n) + kPanel - 1) / kPanel);
    const int64_t blocks = (k + kBlock - 1) / kBlock;
    bytes_.resize(static_cast<size_t>(panels * blocks * kBlock * kPanel));
    const Floats noise = random_floats(static_cast<int64_t>(bytes_.size()));
    std::memcpy(bytes_.data(), noise.data(), bytes_.size());
    for (const float scale : random_floats(panels * blocks * kPanel)) {
      scales_.push_back(float_to_half(scale * 0.01F));
    }
    call_.weight = {format, n, k, nullptr, nullptr, nullptr};
    call_.activations = Activations::kInt8;
    call_.epilogue = epilogue;
  }

  void test() {
    const std::string what =
        "tiles of format " + std::to_string(static_cast<int>(call_.weight.format)) + " n " +
        std::to_string(call_.weight.n) + " k " + std::to_string(call_.weight.k);
    const Floats all = run(library_.linear_plain, 0, kRows);
    for (const int64_t rows : {1, 8, 9, 16, 17, 64, 65, 70}) {
      const Floats some = run(library_.linear, 0, rows);
      const Floats wanted(all.begin(), all.begin() + static_cast<int64_t>(some.size()));
      check(same_bits(some, wanted), what + ", " + std::to_string(rows) + " rows");
    }
    const int64_t units = (width(call_.epilogue, call_.weight.n) + kPanel - 1) / kPanel;
    check(same_bits(run(library_.linear, 0, kRows, 1), all), what + ", unit by unit");
    check(same_bits(run(library_.linear, 0, kRows, units - 1), all), what + ", two calls");
  }

 private:
  static constexpr int64_t kRows = 70;

  static int64_t width(Epilogue epilogue, int64_t n) {
    return epilogue == Epilogue::kSwiGlu ? n / 2 : n;
  }

  Floats run(decltype(cuda::Table::linear) linear, int64_t first, int64_t rows,
             int64_t cut = 1000) {
    const int64_t columns = width(call_.epilogue, call_.weight.n);
    Operands operands(library_);
    Floats y = room(rows * columns);
    LinearCall call = call_;
    const int64_t k = call.weight.k;
    call.rows = rows;
    call.weight.data = operands.put(bytes_);
    call.weight.scales = operands.put(scales_);
    if (call.epilogue == Epilogue::kResidual) call.residual = operands.put(residual_);
    const LinearInput input{call.weight.format, call.activations, rows, k};
    void* packed = operands.scratch(library_.linear_packed_bytes(input));
    const float* x = operands.put(&x_[static_cast<size_t>(first * k)], rows * k);
    must(library_.linear_pack(nullptr, input, x, packed));
    call.packed = packed;
    call.y = operands.in_out(y);
    const int64_t units = (columns + kPanel - 1) / kPanel;
    cuda::Problem problem = nullptr;
    for (int64_t u = 0; u < units && problem == nullptr; u += std::max<int64_t>(cut, 1)) {
      problem = linear(nullptr, call, u, std::min(u + std::max<int64_t>(cut, 1), units));
    }
    operands.finish(problem);
    return y;
  }

  const cuda::Table& library_;
  LinearCall call_;
  Floats x_, residual_;
  std::vector<uint8_t> bytes_;
  std::vector<uint16_t> scales_;
};

void test_tiles(const cuda::Table& library) {
  for (const WeightFormat format : {WeightFormat::kInt8, WeightFormat::kInt4}) {
    for (const int64_t k : {1, 32, 65, 320}) {
      Integers(library, format, Epilogue::kNone, 16, k).test();
      Integers(library, format, Epilogue::kResidual, 150, k).test();
      Integers(library, format, Epilogue::kSwiGlu, 134, k).test();
    }
  }
}

// A problem that is reported is better than a kernel that does not run.
void test_library(const cuda::Table& library) {
  check(library.version == cuda::kTableVersion, "version");
  check(library.problem() == nullptr, "no problem");
  check(library.describe()[0] != '\0', "a description");
  size_t free = 0, total = 0;
  must(library.memory(&free, &total));
  check(free > 0 && free <= total, "memory");
  Operands operands(library);
  Floats y = random_floats(9);
  float* device = operands.in_out(y);
  operands.finish(library.clear(nullptr, device + 2, 3 * sizeof(float)));
  check(y[1] != 0.0F && y[2] == 0.0F && y[4] == 0.0F && y[5] != 0.0F, "clear");
}

}  // namespace

namespace stepguard {

int run_device_tests(const cuda::Table& library) {
  const bool emulated = &library == &emulated_cuda();
  for (const bool backwards : {false, true}) {
    if (backwards && !emulated) break;
    if (emulated) emulate_backwards(backwards);
    test_library(library);
    test_read_out(library);
    test_gather(library);
    test_read_words(library);
    test_best(library);
    test_rotary(library);
    test_gate(library);
    test_tiles(library);
    for (const bool half : {false, true}) {
      for (const int64_t heads : {2, 6, 18}) Attention(library, half, heads).test();
    }
  }
  if (emulated) {
    const Tables tables = {tested_table("cuda-emulated"), find_table("generic")};
    failures += run_table_tests(tables) + run_delta_tests(tables);
    emulate_backwards(false);
  }
  return failures;
}

}  // namespace stepguard
