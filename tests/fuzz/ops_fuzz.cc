// Our operations, those of a GPU over the emulated library too, on whatever bytes say: attributes,
// shapes, segment tables, pages, slots, ids. The input is a recipe of a valid call with faults in
// it. An operation refuses by name, or all that it touches lies inside its tensors, whose memory
// ends where they end: AddressSanitizer sees the rest.
#include <algorithm>
#include <cstring>
#include <new>

#include "../runtime_core/fake_ort.h"
#include "../runtime_core/serial.h"
#include "ort/cuda/device.h"
#include "ort/register.h"
#include "pages.h"

extern "C" const stepguard::cuda::Table* stepguard_cuda_table();

using namespace stepguard;

namespace {

// Elements of a tensor. An operation does what it is asked to do: among valid calls, only small
// ones end soon.
constexpr int64_t kMostElements = 1 << 14;

// Reads a recipe: small numbers, and now and then a fault instead of the right one.
class Recipe {
 public:
  Recipe(const uint8_t* data, size_t size) : data_(data), left_(size) {}

  uint8_t byte() {
    if (left_ == 0) return 0;
    --left_;
    return *data_++;
  }
  int64_t below(int64_t count) { return byte() % count; }

  // Mostly `right`; with a byte of 240 and more another number, near or far.
  int64_t number(int64_t right) {
    static constexpr int64_t kOdd[] = {-1, 0, 1, 2, 31, 33, 255, INT32_MAX, INT32_MIN, 1 << 20};
    const uint8_t way = byte();
    if (way < 240) return right;
    if (way < 250) return right + way - 245;  // most checks go wrong by one, if they do
    if (way < 253) return int64_t{1} << (byte() % 63);
    return kOdd[byte() % (sizeof kOdd / sizeof kOdd[0])];
  }
  // Mostly one of `count`; with a byte of 240 and more an edge of what is allowed.
  int32_t index(int64_t count) {
    const uint8_t way = byte();
    const int64_t edges[] = {count,     count + 1,     -1,     count - 1, -2,
                             INT32_MAX, INT32_MIN + 1, 1 << 20};
    return static_cast<int32_t>(way < 240 ? way % count : edges[way % 8]);
  }
  int32_t number32(int64_t right) { return static_cast<int32_t>(number(right)); }

 private:
  const uint8_t* data_;
  size_t left_;
};

// One call: tensors in the order of the operation's inputs.
struct Case {
  OrtKernelInfo info;
  std::vector<std::unique_ptr<OrtValue>> inputs;
  Recipe& recipe;

  void add(ONNXTensorElementDataType type, std::vector<int64_t> shape) {
    for (int64_t& size : shape) size = recipe.number(size);
    if (recipe.byte() == 255) shape.push_back(1);
    if (recipe.byte() == 255 && !shape.empty()) shape.pop_back();
    int64_t left = kMostElements;
    for (const int64_t size : shape) {
      if (size > left) throw std::bad_alloc();
      if (size > 0) left /= size;
    }
    inputs.push_back(fake::make_tensor(type, shape));
    std::memset(inputs.back()->data, 0, bytes());
  }
  void add(const std::vector<int32_t>& values, std::vector<int64_t> shape) {
    add(kOrtInt32, std::move(shape));
    const size_t size = std::min(bytes(), values.size() * sizeof(int32_t));
    if (size > 0) std::memcpy(inputs.back()->data, values.data(), size);
  }
  void skip() { inputs.push_back(nullptr); }

 private:
  size_t bytes() const {
    size_t bytes = fake::element_bytes(inputs.back()->info.type);
    for (const int64_t size : inputs.back()->info.shape) bytes *= static_cast<size_t>(size);
    return bytes;
  }
};

struct Forest {
  std::vector<int32_t> segments, pages, slots;
  int64_t count = 0, rows = 0, arena_pages = 0, arena_slots = 0;
};

Forest forest(Recipe& recipe) {
  Forest forest;
  forest.arena_pages = 1 + recipe.below(6);
  forest.arena_slots = 1 + recipe.below(4);
  forest.count = recipe.below(5);
  for (int64_t s = 0; s < forest.count; ++s) {
    const int64_t rows = recipe.below(40), position = recipe.below(80);
    const int64_t pages = (position + rows + kPage - 1) / kPage;
    const bool copies = recipe.byte() % 4 == 0;
    const auto page = [&] { return recipe.index(forest.arena_pages); };
    const int32_t source = copies ? page() : -1, target = copies ? page() : -1;
    for (const int32_t value :
         {recipe.number32(forest.rows), recipe.number32(rows), recipe.number32(position),
          recipe.number32(static_cast<int64_t>(forest.pages.size())), recipe.number32(pages),
          source, target, recipe.index(kPage + 1)}) {
      forest.segments.push_back(value);
    }
    for (int64_t i = 0; i < pages; ++i) forest.pages.push_back(page());
    for (int side = 0; side < 2; ++side) {
      forest.slots.push_back(recipe.index(forest.arena_slots + 1) - 1);
    }
    forest.rows += rows;
  }
  return forest;
}

std::vector<int32_t> numbers(Recipe& r, int64_t count, int64_t most) {
  std::vector<int32_t> values;
  for (int64_t i = 0; i < count; ++i) values.push_back(r.index(most));
  return values;
}

void attention(Case& c) {
  Recipe& r = c.recipe;
  const int64_t kv_heads = 1 + r.below(2), heads = kv_heads * (1 + r.below(3));
  const int64_t dim = 1 + r.below(20), rotary = r.below(dim + 1) / 2 * 2;
  const bool gate = r.byte() % 2 == 1, half = r.byte() % 2 == 1;
  c.info.integers = {{"heads", r.number(heads)},
                     {"kv_heads", r.number(kv_heads)},
                     {"head_dim", r.number(dim)},
                     {"rotary_dim", r.number(rotary)},
                     {"gate", r.number(gate)}};
  c.info.reals = {{"scale", 0.3F}, {"epsilon", 1e-6F}, {"norm_offset", 0.0F}};
  const Forest f = forest(r);
  AttentionShape shape;
  shape.kv_heads = kv_heads;
  shape.head_dim = dim;
  shape.kv_half = half;
  c.add(kOrtFloat, {f.rows, (heads * (gate ? 2 : 1) + 2 * kv_heads) * dim});
  c.add(f.segments, {f.count, 8});
  c.add(f.pages, {static_cast<int64_t>(f.pages.size())});
  c.add(kOrtUint8, {f.arena_pages, shape.page_bytes()});
  c.add({r.number32(half)}, {1});
  c.add(kOrtFloat, {rotary / 2});
  for (int norm = 0; norm < 2; ++norm) r.byte() % 2 == 0 ? c.skip() : c.add(kOrtFloat, {dim});
  const int64_t reads = r.below(4);
  r.byte() % 2 == 0 ? c.skip() : c.add(numbers(r, reads, f.rows + 1), {reads});
}

void delta_net(Case& c) {
  Recipe& r = c.recipe;
  const int64_t k_heads = 1 + r.below(2), v_heads = k_heads * (1 + r.below(2));
  const int64_t k_dim = 1 + r.below(20), v_dim = 1 + r.below(40), width = 2 + r.below(7);
  c.info.integers = {{"k_heads", r.number(k_heads)},
                     {"v_heads", r.number(v_heads)},
                     {"k_dim", r.number(k_dim)},
                     {"v_dim", r.number(v_dim)},
                     {"conv_width", r.number(width)}};
  c.info.reals = {{"epsilon", 1e-6F}};
  const Forest f = forest(r);
  const int64_t channels = 2 * k_heads * k_dim + v_heads * v_dim;
  c.add(kOrtFloat, {f.rows, channels + v_heads * v_dim});
  c.add(kOrtFloat, {f.rows, 2 * v_heads});
  c.add(f.segments, {f.count, 8});
  c.add(f.slots, {f.count, 2});
  c.add(kOrtFloat, {f.arena_slots, channels * (width - 1)});
  c.add(kOrtFloat, {f.arena_slots, v_heads * k_dim * v_dim});
  c.add(kOrtFloat, {channels, width});
  c.add(kOrtFloat, {v_heads});
  c.add(kOrtFloat, {v_heads});
  c.add(kOrtFloat, {v_dim});
}

// A table of rows, in int8 with scales or in float32.
void table(Case& c, int64_t rows, int64_t width) {
  const bool packed = c.recipe.byte() % 2 == 0;
  c.add(packed ? kOrtInt8 : kOrtFloat, {rows, width});
  packed ? c.add(kOrtFloat16, {rows, (width + kBlock - 1) / kBlock}) : c.skip();
}

void embed(Case& c) {
  Recipe& r = c.recipe;
  const int64_t rows = r.below(20), most = 1 + r.below(30);
  c.add(numbers(r, rows, most), {rows});
  table(c, most, r.below(80));
}

void read_out(Case& c) {
  Recipe& r = c.recipe;
  c.info.reals = {{"epsilon", 1e-6F}, {"offset", 1.0F}};
  const int64_t width = r.below(80), vocabulary = 1 + r.below(30);
  const int64_t reads = r.below(5), labels = r.below(4);
  c.add(kOrtFloat, {reads, width});
  c.add(kOrtFloat, {width});
  std::vector<int32_t> offsets = {r.number32(0)};
  int64_t ids = 0;
  for (int64_t m = 0; m < reads; ++m) offsets.push_back(r.number32(ids += r.below(4)));
  c.add(offsets, {reads + 1});
  c.add(numbers(r, ids, vocabulary), {ids});
  c.add(numbers(r, labels, vocabulary), {labels});
  c.add(kOrtFloat, {labels, width});
  table(c, vocabulary, width);
}

void next_token(Case& c) {
  Recipe& r = c.recipe;
  c.info.reals = {{"epsilon", 1e-6F}, {"offset", 1.0F}};
  const int64_t rows = 1 + r.below(20), width = r.below(80), nexts = r.below(6);
  const int64_t vocabulary = (r.byte() % 4 == 0 ? 250 : 1) + r.below(30);
  c.add(kOrtFloat, {rows, width});
  c.add(kOrtFloat, {width});
  c.add(numbers(r, nexts, rows), {nexts});
  table(c, vocabulary, width);
}

void rms_norm(Case& c) {
  c.info.reals = {{"epsilon", 1e-6F}, {"offset", 0.0F}};
  const int64_t width = c.recipe.below(80);
  c.add(kOrtFloat, {c.recipe.below(20), width});
  c.add(kOrtFloat, {width});
}

void linear(Case& c) {
  Recipe& r = c.recipe;
  static const char* const kFormats[] = {"float32", "int8", "int4", "int5"};
  static const char* const kEpilogues[] = {"none", "residual", "swiglu", ""};
  const int64_t format = r.below(4), epilogue = r.below(4), k = 1 + r.below(80);
  const int64_t n = epilogue == 2 ? 2 + 2 * r.below(40) : 1 + r.below(80), rows = r.below(20);
  c.info.integers = {{"n", r.number(n)}, {"k", r.number(k)}};
  c.info.texts = {{"format", kFormats[format]}, {"epilogue", kEpilogues[epilogue]}};
  const int64_t half = (n / 2 + kPanel - 1) / kPanel;
  const int64_t panels = epilogue == 2 ? 2 * half : (n + kPanel - 1) / kPanel;
  const int64_t blocks = (k + kBlock - 1) / kBlock;
  c.add(kOrtFloat, {rows, k});
  if (format == 0) c.add(kOrtFloat, {panels, k, kPanel});
  if (format == 1) c.add(kOrtInt8, {panels, blocks * kBlock / 4, kPanel, 4});
  if (format >= 2) c.add(kOrtUint8, {panels, blocks * kBlock / 8, kPanel, 4});
  format == 0 ? c.skip() : c.add(kOrtFloat16, {panels, blocks, kPanel});
  r.byte() % 2 == 0 ? c.skip() : c.add(kOrtFloat, {n});
  epilogue == 1 ? c.add(kOrtFloat, {rows, n}) : c.skip();
}

void run(const BoundOp& op, const Case& c, OpContext& context) {
  void* kernel = nullptr;
  OrtStatus* status = op.CreateKernelV2(&op, nullptr, &c.info, &kernel);
  if (status == nullptr) {
    OrtKernelContext inputs;
    for (const auto& input : c.inputs) inputs.inputs.push_back(input.get());
    ++context.forward;
    status = op.KernelComputeV2(kernel, &inputs);
    op.KernelDestroy(kernel);
  }
  delete status;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Serial serial;
  static size_t tables = 0;
  static const KernelTable* const* const available = available_tables(&tables);
  Recipe recipe(data, size);
  OpContext context;
  context.ort.fill(fake::functions());
  context.parallel = &serial;
  context.table = available[recipe.below(static_cast<int64_t>(tables))];
  Device device(*stepguard_cuda_table(), 0);
  context.device = &device;
  const bool on_device = recipe.byte() % 4 == 0;
  using Make = void (*)(Case&);
  using Bind = BoundOp (*)(OpContext&);
  struct Op {
    Make make;
    Bind bind, bind_device;
  };
  static constexpr Op kOps[] = {{attention, bind_attention, bind_device_attention},
                                {delta_net, bind_delta_net, bind_device_delta_net},
                                {embed, bind_embed, bind_device_embed},
                                {read_out, bind_read_out, bind_device_read_out},
                                {rms_norm, bind_rms_norm, bind_device_rms_norm},
                                {linear, bind_linear, bind_device_linear},
                                {next_token, bind_next_token, bind_device_next_token}};
  const Op& op = kOps[recipe.below(7)];
  Case c{{"fuzzed", {}, {}, {}}, {}, recipe};
  try {
    op.make(c);
  } catch (const std::bad_alloc&) {  // a tensor that no caller could have made
    return 0;
  }
  run((on_device ? op.bind_device : op.bind)(context), c, context);
  return 0;
}
