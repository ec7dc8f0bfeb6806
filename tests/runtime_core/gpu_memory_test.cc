// The memory of a GPU, over the emulated library and the fake ONNX Runtime: what an engine takes of
// it stays under the limit, what finds none ends with kMemory, and the next call answers as before.
#include <dlfcn.h>

#include <new>
#include <stdexcept>

#include "cuda/table.h"
#include "engine.h"
#include "error.h"
#include "expect.h"
#include "fake_session.h"

using namespace stepguard;

namespace {

constexpr size_t kPlenty = size_t{1} << 40;
constexpr int64_t kMemory = 256 << 10, kLimit = 320 << 10;

template <class Function>
Function* find(const char* library, const char* name) {
  void* handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  void* symbol = handle == nullptr ? nullptr : dlsym(handle, name);
  if (symbol == nullptr) throw std::runtime_error(dlerror());
  return reinterpret_cast<Function*>(symbol);
}

fake::Gpu& fake_gpu() { return *find<fake::Gpu*()>(STEPGUARD_FAKE_ORT, "stepguard_fake_gpu")(); }

void set_left(size_t bytes) {
  find<void(size_t)>(STEPGUARD_EMULATED, "stepguard_emulated_left")(bytes);
}

size_t left() {
  size_t free = 0, total = 0;
  find<const cuda::Table*()>(STEPGUARD_EMULATED, "stepguard_cuda_table")()->memory(&free, &total);
  return free;
}

EngineConfig configuration(int64_t gpu_memory) {
  EngineConfig config;
  config.model_path = "model.onnx";
  config.ort_path = STEPGUARD_FAKE_ORT;
  config.cuda_path = STEPGUARD_EMULATED;
  config.isa = "generic";
  config.memory = kMemory;
  config.gpu_memory = gpu_memory;
  config.row_bytes = 1024;
  config.chunk = 48;
  config.layers = config.delta_layers = 1;
  config.kv_heads = fake::kKvHeads;
  config.head_dim = fake::kHeadDim;
  config.conv_floats = fake::kConvFloats;
  config.delta_floats = fake::kDeltaFloats;
  config.vocabulary = fake::kVocabulary;
  config.context = 160;
  return config;
}

SegmentResult run(Engine& engine, const StatePtr& parent, std::vector<int32_t> tokens) {
  SegmentSpec spec;
  spec.parent = parent;
  spec.tokens = std::move(tokens);
  spec.keep = true;
  spec.read = {1, 3, 9};
  const JobPtr job = engine.submit({spec});
  job->wait(-1);
  return job->results[0];
}

std::vector<int32_t> text(size_t length) {
  std::vector<int32_t> ids(length);
  for (size_t i = 0; i < length; ++i) ids[i] = static_cast<int32_t>(i * i % fake::kNoMemory);
  return ids;
}

void test_what_onnx_runtime_may_take() {
  const Engine limited(configuration(kLimit));
  EXPECT_TRUE(fake_gpu().told["gpu_mem_limit"] == std::to_string(kLimit - kMemory));
  const Engine free(configuration(0));
  EXPECT_EQ(fake_gpu().told.count("gpu_mem_limit"), size_t{0});
}

void test_what_is_taken_stays_below() {
  set_left(kPlenty);
  {
    Engine engine(configuration(kLimit));
    EXPECT_TRUE(run(engine, engine.root(), text(150)).reason == Reason::kNone);
    const size_t taken = kPlenty - left();
    EXPECT_TRUE(taken > static_cast<size_t>(kMemory) / 2);
    EXPECT_TRUE(taken <= static_cast<size_t>(kMemory));
  }
  EXPECT_EQ(left(), kPlenty);
}

// Rows that take more than was said: the forward ends, and a shorter one runs.
void test_scratch_beyond_the_limit() {
  EngineConfig config = configuration(kLimit);
  config.row_bytes = 100;
  Engine engine(config);
  const SegmentResult result = run(engine, engine.root(), text(48));
  EXPECT_TRUE(result.reason == Reason::kMemory);
  EXPECT_TRUE(result.message.find("no scratch on the GPU") != std::string::npos);
  EXPECT_TRUE(run(engine, engine.root(), text(1)).reason == Reason::kNone);
}

void test_no_memory_while_it_runs() {
  set_left(kPlenty);
  Engine engine(configuration(kLimit)), quiet(configuration(kLimit));
  const SegmentResult before = run(engine, engine.root(), text(5));
  const auto wanted = run(quiet, run(quiet, quiet.root(), text(5)).state, text(48)).logits;
  const size_t rest = left();
  set_left(0);  // the agent's own model took all of it
  EXPECT_TRUE(run(engine, before.state, text(48)).reason == Reason::kMemory);
  EXPECT_TRUE(run(engine, before.state, text(48)).reason == Reason::kMemory);
  set_left(rest);
  const SegmentResult after = run(engine, before.state, text(48));
  EXPECT_TRUE(after.reason == Reason::kNone);
  EXPECT_TRUE(after.logits == wanted);
}

// Afterwards, one run gives back what ONNX Runtime holds and does not use.
void test_no_memory_for_onnx_runtime() {
  Engine engine(configuration(kLimit));
  const SegmentResult before = run(engine, engine.root(), text(20));
  fake_gpu().shrunk = 0;
  EXPECT_TRUE(run(engine, before.state, {fake::kNoMemory}).reason == Reason::kMemory);
  EXPECT_EQ(fake_gpu().shrunk, 0);
  EXPECT_TRUE(run(engine, before.state, {fake::kRefused}).reason == Reason::kInternal);
  EXPECT_EQ(fake_gpu().shrunk, 1);
  EXPECT_TRUE(run(engine, before.state, {fake::kNoMemory}).reason == Reason::kMemory);
  const SegmentResult after = run(engine, engine.root(), text(20));
  EXPECT_TRUE(after.logits == before.logits);
  EXPECT_EQ(fake_gpu().shrunk, 2);
  EXPECT_TRUE(run(engine, engine.root(), text(3)).reason == Reason::kNone);
  EXPECT_EQ(fake_gpu().shrunk, 2);
}

void test_no_memory_to_load() {
  for (const size_t there : {size_t{0}, size_t{100}, static_cast<size_t>(kMemory) / 2}) {
    set_left(there);
    bool refused = false;
    try {
      const Engine engine(configuration(kLimit));
    } catch (const std::bad_alloc&) {
      refused = true;
    }
    EXPECT_TRUE(refused);
    EXPECT_EQ(left(), there);
  }
  set_left(kPlenty);
}

void test_no_provider() {
  fake_gpu().there = false;
  bool refused = false;
  try {
    const Engine engine(configuration(0));
  } catch (const Error& error) {
    refused = error.kind == ErrorKind::kRuntimeMissing;
  }
  EXPECT_TRUE(refused);
  EXPECT_EQ(left(), kPlenty);
  fake_gpu().there = true;
}

// Engines share a device: what one gives back, another may take.
void test_two_engines() {
  set_left(static_cast<size_t>(kMemory) * 3 / 2);
  Engine first(configuration(kLimit));
  const SegmentResult alone = run(first, first.root(), text(48));
  bool refused = false;
  try {
    const Engine second(configuration(kLimit));
  } catch (const std::bad_alloc&) {
    refused = true;
  }
  EXPECT_TRUE(refused);
  EXPECT_TRUE(run(first, first.root(), text(48)).logits == alone.logits);
  set_left(kPlenty);
  Engine second(configuration(kLimit));
  EXPECT_TRUE(run(second, second.root(), text(48)).logits == alone.logits);
  EXPECT_TRUE(run(first, first.root(), text(48)).logits == alone.logits);
}

void test_a_limit_that_makes_no_sense() {
  for (const int64_t limit : {int64_t{-1}, int64_t{1}, kMemory}) {
    bool refused = false;
    try {
      const Engine engine(configuration(limit));
    } catch (const std::invalid_argument& error) {
      refused = std::string(error.what()).find("gpu_memory: expected") == 0;
    }
    EXPECT_TRUE(refused);
  }
}

}  // namespace

int main() {
  find<void(bool)>(STEPGUARD_EMULATED, "stepguard_emulated_gpu")(true);
  fake_gpu().there = true;
  test_what_onnx_runtime_may_take();
  test_what_is_taken_stays_below();
  test_scratch_beyond_the_limit();
  test_no_memory_while_it_runs();
  test_no_memory_for_onnx_runtime();
  test_no_memory_to_load();
  test_no_provider();
  test_two_engines();
  test_a_limit_that_makes_no_sense();
  return failures() == 0 ? 0 : 1;
}
