// What the operations of one engine share on a GPU: the library of kernels, scratch on the device,
// and what a forward uploads once for all layers.
#pragma once

#include <tuple>
#include <vector>

#include "../../cuda/table.h"
#include "../op.h"
#include "../segments.h"

namespace stepguard {

// Scratch of the operations. One stream runs them in order, so that the next may write what the
// last one reads no more.
enum class Scratch {
  kIds,
  kNormed,
  kPacked,
  kQueries,
  kTables,      // of Attention over all rows
  kReadTables,  // of Attention over the rows that are read
  kCos,
  kSin,
  kReadCos,
  kReadSin,
  kQkv,
  kGates,
  kLogits,
  kBest,
  kCount
};

// The tables of Attention on the device.
struct AttentionTables {
  const cuda::RowSlot* slots = nullptr;
  const int32_t* pages = nullptr;
  const int32_t* reads = nullptr;
  const cuda::QueryTile* tiles = nullptr;
  int64_t tile_count = 0;
  const float *cos = nullptr, *sin = nullptr;
};

// What of a forward's tables a layer wants.
struct TableRequest {
  const SegmentTable& segments;
  int64_t page_count, rows, group;
  const int32_t* reads;  // null: all rows
  int64_t read_count;
  const float* inv_freq;  // on the device
  int64_t half;
};

class Device {
 public:
  // most: bytes that all scratch together may take; 0: whatever is free.
  Device(const cuda::Table& kernels, int64_t most)
      : kernels_(kernels), most_(static_cast<size_t>(most)) {}
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const cuda::Table& kernels() const { return kernels_; }

  // Throws OpError where the GPU refuses.
  static void must(cuda::Problem problem);

  // Device memory that stays until the same scratch is asked for again. Throws OpError when there
  // is none left, or no more may be taken; what was there before is given back then, too.
  void* scratch(Scratch which, size_t bytes);
  template <class T>
  T* scratch(Scratch which, int64_t count) {
    return static_cast<T*>(scratch(which, static_cast<size_t>(count) * sizeof(T)));
  }
  template <class T>
  const T* upload(cuda::Stream stream, Scratch which, const T* values, int64_t count) {
    T* target = scratch<T>(which, count);
    if (count > 0) {
      must(kernels_.upload(stream, target, values, static_cast<size_t>(count) * sizeof(T)));
    }
    return target;
  }

  // Uploaded by the first layer of a forward that asks.
  const AttentionTables& tables(cuda::Stream stream, uint64_t forward, const TableRequest& request);

  // Whether something failed with this text because there was no memory: of the kernels' library
  // (the words are CUDA's), or of what ONNX Runtime allocates.
  static bool is_out_of_memory(const std::string& text);

 private:
  using TablesKey = std::tuple<uint64_t, const SegmentRow*, int64_t, int64_t, const int32_t*,
                               int64_t, const int32_t*, int64_t, const float*, int64_t, int64_t>;
  struct Cached {
    TablesKey key{};
    AttentionTables tables;
  };

  const cuda::Table& kernels_;
  const size_t most_;
  size_t taken_ = 0;
  struct Memory {
    void* data = nullptr;
    size_t bytes = 0;
  };
  Memory memory_[static_cast<size_t>(Scratch::kCount)];
  Cached cached_[2];  // for all rows, and for those that are read
};

// Defined in embed.cc and so on, in this folder.
BoundOp bind_device_embed(OpContext& context);
BoundOp bind_device_rms_norm(OpContext& context);
BoundOp bind_device_linear(OpContext& context);
BoundOp bind_device_attention(OpContext& context);
BoundOp bind_device_delta_net(OpContext& context);
BoundOp bind_device_read_out(OpContext& context);
BoundOp bind_device_next_token(OpContext& context);

}  // namespace stepguard
