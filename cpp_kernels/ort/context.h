// What the operations of one engine share: the kernel table, the threads, the rotary cache.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <tuple>
#include <type_traits>
#include <vector>

#include "../kernels.h"
#include "ort_abi.h"

namespace stepguard {

// Splits [0, count) into chunks of at least `grain` and calls body(begin, end) from several
// threads. The body must not throw. Implemented by the engine's pool; kernels never see threads.
class Parallel {
 public:
  virtual ~Parallel() = default;
  virtual int threads() const = 0;

  template <typename Body>
  void for_range(int64_t count, int64_t grain, Body&& body) {
    run(
        count, grain,
        [](void* context, int64_t begin, int64_t end) {
          (*static_cast<std::remove_reference_t<Body>*>(context))(begin, end);
        },
        &body);
  }

 protected:
  using Function = void (*)(void* context, int64_t begin, int64_t end);
  virtual void run(int64_t count, int64_t grain, Function function, void* context) = 0;
};

// cos and sin of every packed row of the forward that is running, [rows][rotary_dim/2] each.
struct Rotary {
  std::vector<float> cos, sin;
};

// Seconds spent in all calls of one op.
struct OpTime {
  const char* name;
  double seconds;
};

class Device;  // ort/cuda/device.h

struct OpContext {
  OrtFunctions ort;
  const KernelTable* table = nullptr;
  Activations activations = Activations::kFloat32;  // beside int4 and int8 weights
  Parallel* parallel = nullptr;
  Device* device = nullptr;            // with a GPU
  std::atomic<bool> cancelled{false};  // polled between blocks of work
  uint64_t forward = 0;                // counts forwards: the key of the rotary cache
  std::vector<OpTime> times;           // of every op that ran; touched by the forward's thread only

  // Rotary factors for the packed rows of this forward, computed by the first layer that asks.
  const Rotary& rotary(const float* inv_freq, int64_t half, const int32_t* segments,
                       int64_t segment_count, int64_t rows);

  // Adds to the time of the op with that name, one of the constants of the op classes.
  void spend(const char* op, double seconds);

  // Scratch of the running op, kept from call to call; one op runs at a time.
  void* scratch(size_t index, size_t bytes);

 private:
  Rotary rotary_;
  uint64_t rotary_forward_ = 0;
  using RotaryKey = std::tuple<const float*, int64_t, const int32_t*, int64_t>;
  RotaryKey rotary_key_{nullptr, 0, nullptr, 0};
  struct Scratch {
    std::unique_ptr<uint8_t[]> data;
    size_t bytes = 0;
  };
  std::vector<Scratch> scratch_;
};

}  // namespace stepguard
