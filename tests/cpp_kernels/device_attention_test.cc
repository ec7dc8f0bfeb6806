// Attention on a GPU against the reference, and bit for bit against the same rows alone.
#include <algorithm>

#include "device_checks.h"
#include "device_operands.h"

namespace stepguard::device_tests {
namespace {

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

}  // namespace

void test_attention(const cuda::Table& library) {
  for (const bool half : {false, true}) {
    for (const int64_t heads : {2, 6, 18}) Attention(library, half, heads).test();
  }
}

}  // namespace stepguard::device_tests
