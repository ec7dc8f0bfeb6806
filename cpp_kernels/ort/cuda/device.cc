#include "device.h"

#include <algorithm>
#include <cstdint>
#include <string>

#include "../register.h"

namespace stepguard {
namespace {

// int32 of several tables in one upload.
class Blob {
 public:
  size_t add(const void* values, size_t count) {
    const size_t at = words_.size();
    const auto* from = static_cast<const int32_t*>(values);
    words_.insert(words_.end(), from, from + count);
    return at;
  }
  const std::vector<int32_t>& words() const { return words_; }

 private:
  std::vector<int32_t> words_;
};

// Tiles of rows [begin, begin + rows) of a segment, whose outputs begin at row `out`.
void add_tiles(std::vector<cuda::QueryTile>& tiles, const SegmentRow& segment, int64_t group,
               int64_t begin, int64_t rows, int64_t out) {
  const int64_t end = (begin + rows) * group;
  for (int64_t i = begin * group; i < end; i += cuda::kTileQueries) {
    const int64_t count = std::min<int64_t>(cuda::kTileQueries, end - i);
    tiles.push_back({segment.page_start, segment.position, segment.first_row,
                     static_cast<int32_t>(out - begin), static_cast<int32_t>(i),
                     static_cast<int32_t>(count)});
  }
}

std::vector<cuda::QueryTile> cut_tiles(const TableRequest& request) {
  std::vector<cuda::QueryTile> tiles;
  const SegmentRow* segments = request.segments.segments;
  const SegmentRow* end = segments + request.segments.count;
  if (request.reads == nullptr) {
    for (const SegmentRow* s = segments; s != end; ++s) {
      add_tiles(tiles, *s, request.group, 0, s->rows, s->first_row);
    }
  }
  for (int64_t m = 0; m < request.read_count; ++m) {
    const int32_t row = request.reads[m];
    const SegmentRow& found = segments[segment_of(request.segments, row)];
    add_tiles(tiles, found, request.group, row - found.first_row, 1, m);
  }
  return tiles;
}

}  // namespace

Device::~Device() {
  for (const Memory& memory : memory_) {
    if (memory.data != nullptr) kernels_.release(memory.data);
  }
}

void Device::must(cuda::Problem problem) {
  if (problem != nullptr) throw OpError(std::string("the GPU refused: ") + problem);
}

void* Device::scratch(Scratch which, size_t bytes) {
  Memory& memory = memory_[static_cast<size_t>(which)];
  if (memory.data != nullptr && memory.bytes >= bytes) return memory.data;
  if (memory.data != nullptr) kernels_.release(memory.data);  // waits for whoever still reads it
  taken_ -= memory.bytes;
  memory = {};
  const size_t left = most_ > 0 ? most_ - taken_ : SIZE_MAX;
  // More than is needed, so that a slightly longer forward need not ask again.
  const size_t wanted = std::min(std::max<size_t>(bytes + bytes / 4, 256), left);
  if (wanted < bytes) {
    throw OpError("no scratch on the GPU: out of memory, " + std::to_string(left) + " of " +
                  std::to_string(most_) + " bytes are left and " + std::to_string(bytes) +
                  " are needed");
  }
  if (const cuda::Problem problem = kernels_.allocate(wanted, &memory.data); problem != nullptr) {
    memory.data = nullptr;
    throw OpError(std::string("no scratch on the GPU: ") + problem);
  }
  memory.bytes = wanted;
  taken_ += wanted;
  return memory.data;
}

bool Device::is_out_of_memory(const std::string& text) {
  return text.find("out of memory") != std::string::npos ||
         text.find("Failed to allocate memory") != std::string::npos ||
         // ONNX Runtime's arena under a limit.
         text.find("is smaller than requested bytes") != std::string::npos;
}

const AttentionTables& Device::tables(cuda::Stream stream, uint64_t forward,
                                      const TableRequest& request) {
  const bool some = request.reads != nullptr;
  Cached& cached = cached_[some ? 1 : 0];
  // All that the tables are made of: two nodes of one graph may differ in any of it.
  const TablesKey key{forward,
                      request.segments.segments,
                      request.segments.count,
                      request.rows,
                      request.segments.pages,
                      request.page_count,
                      request.reads,
                      request.read_count,
                      request.inv_freq,
                      request.half,
                      request.group};
  if (cached.key == key) return cached.tables;
  cached.key = {};  // until the tables are there
  std::vector<int32_t> positions(static_cast<size_t>(request.rows));
  std::vector<cuda::RowSlot> slots(positions.size());
  for (int64_t s = 0; s < request.segments.count; ++s) {
    const SegmentRow& segment = request.segments.segments[s];
    for (int32_t i = 0; i < segment.rows; ++i) {
      const int32_t position = segment.position + i;
      const auto row = static_cast<size_t>(segment.first_row + i);
      positions[row] = position;
      slots[row] = {request.segments.pages[segment.page_start + position / kPage],
                    position % kPage};
    }
  }
  const std::vector<cuda::QueryTile> tiles = cut_tiles(request);
  Blob blob;
  const size_t slots_at = blob.add(slots.data(), 2 * slots.size());
  const size_t tiles_at = blob.add(tiles.data(), 6 * tiles.size());
  const size_t positions_at = blob.add(positions.data(), positions.size());
  const size_t pages_at = blob.add(request.segments.pages, static_cast<size_t>(request.page_count));
  const size_t reads_at = blob.add(request.reads, static_cast<size_t>(request.read_count));
  const int32_t* words = upload(stream, some ? Scratch::kReadTables : Scratch::kTables,
                                blob.words().data(), static_cast<int64_t>(blob.words().size()));
  AttentionTables& result = cached.tables;
  result.slots = reinterpret_cast<const cuda::RowSlot*>(words + slots_at);
  result.tiles = reinterpret_cast<const cuda::QueryTile*>(words + tiles_at);
  result.tile_count = static_cast<int64_t>(tiles.size());
  result.pages = words + pages_at;
  result.reads = some ? words + reads_at : nullptr;
  auto* cos = scratch<float>(some ? Scratch::kReadCos : Scratch::kCos, request.rows * request.half);
  auto* sin = scratch<float>(some ? Scratch::kReadSin : Scratch::kSin, request.rows * request.half);
  must(kernels_.rotary(stream, words + positions_at, request.inv_freq, request.rows, request.half,
                       cos, sin));
  result.cos = cos;
  result.sin = sin;
  cached.key = key;
  return result;
}

std::vector<std::unique_ptr<BoundOp>> bind_device_ops(OpContext& context) {
  std::vector<std::unique_ptr<BoundOp>> ops;
  for (const BoundOp& op :
       {bind_device_embed(context), bind_device_rms_norm(context), bind_device_linear(context),
        bind_device_attention(context), bind_device_delta_net(context),
        bind_device_read_out(context), bind_device_next_token(context)}) {
    ops.push_back(std::make_unique<BoundOp>(op));
    // A library that works on the host's memory runs under the CPU's provider.
    if (!context.device->kernels().on_host) ops.back()->provider = "CUDAExecutionProvider";
  }
  return ops;
}

}  // namespace stepguard
