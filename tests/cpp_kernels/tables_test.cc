// Every table against the reference at odd sizes, small enough to run under sanitizers: buffers are
// exactly as large as the interface says, so a read or write beyond them is found.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "cpu_features.h"
#include "kernels.h"
#include "tested_tables.h"

namespace {

using namespace stepguard;

int failures = 0;

void check(bool good, const std::string& what) {
  if (good) return;
  ++failures;
  std::printf("FAILED %s\n", what.c_str());
}

class Random {
 public:
  std::vector<float> floats(int64_t count, float scale = 1.0F) {
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = normal_(engine_) * scale;
    return values;
  }
  std::vector<uint8_t> bytes(int64_t count) {
    std::vector<uint8_t> values(static_cast<size_t>(count));
    for (uint8_t& value : values) value = static_cast<uint8_t>(engine_() >> 8);
    return values;
  }
  std::vector<uint16_t> scales(int64_t count) {
    std::vector<uint16_t> values(static_cast<size_t>(count));
    for (uint16_t& value : values) value = float_to_half(std::fabs(normal_(engine_)) * 0.01F);
    return values;
  }

 private:
  std::mt19937 engine_{7};
  std::normal_distribution<float> normal_;
};

void close(const std::vector<float>& got, const std::vector<float>& wanted, const std::string& what,
           float tolerance = 3e-5F) {
  for (size_t i = 0; i < wanted.size(); ++i) {
    const float error = std::fabs(got[i] - wanted[i]);
    if (!(error <= tolerance * (1.0F + std::fabs(wanted[i])))) {
      check(false, what + ": element " + std::to_string(i) + " is " + std::to_string(got[i]) +
                       ", reference " + std::to_string(wanted[i]));
      return;
    }
  }
}

int64_t blocks(int64_t size, int64_t block) { return (size + block - 1) / block; }

void test_rms_norm(const KernelTable& table, const KernelTable& reference) {
  Random random;
  for (const int64_t width : {1, 7, 8, 9, 33, 576}) {
    for (const int64_t rows : {0, 1, 3}) {
      const auto x = random.floats(rows * width);
      const auto weight = random.floats(width);
      std::vector<float> got(x.size());
      std::vector<float> wanted(x.size());
      table.rms_norm(x.data(), weight.data(), 1e-5F, 1.0F, rows, width, got.data());
      reference.rms_norm(x.data(), weight.data(), 1e-5F, 1.0F, rows, width, wanted.data());
      close(got, wanted, std::string(table.name) + " rms_norm " + std::to_string(width));
    }
  }
}

void test_table_rows(const KernelTable& table, const KernelTable& reference) {
  Random random;
  const std::vector<int32_t> ids = {4, 0, 2};
  for (const int64_t width : {1, 5, 31, 32, 33, 100}) {
    const auto x = random.floats(width);
    const auto floats = random.floats(5 * width);
    const auto bytes = random.bytes(5 * width);
    const auto scales = random.scales(5 * blocks(width, kBlock));
    for (const bool quantised : {false, true}) {
      const void* data = quantised ? static_cast<const void*>(bytes.data())
                                   : static_cast<const void*>(floats.data());
      const uint16_t* scale = quantised ? scales.data() : nullptr;
      std::vector<float> got(static_cast<size_t>(3 * width));
      std::vector<float> wanted(got.size());
      table.embed(ids.data(), 3, data, scale, width, got.data());
      reference.embed(ids.data(), 3, data, scale, width, wanted.data());
      const std::string what = std::string(table.name) + " width " + std::to_string(width);
      close(got, wanted, "embed " + what, 0.0F);
      close({table.read_row(x.data(), 4, data, scale, width)},
            {reference.read_row(x.data(), 4, data, scale, width)}, "read_row " + what);
    }
  }
}

std::vector<float> run_linear(const KernelTable& table, LinearCall call, const float* x) {
  const bool pair = call.epilogue == Epilogue::kSwiGlu;
  const LinearWeight& w = call.weight;
  const LinearInput input{w.format, call.activations, call.rows, w.k};
  std::vector<float> packed(table.linear_packed_bytes(input) / sizeof(float));
  table.linear_pack(input, x, 0, table.linear_blocks(input), packed.data());
  std::vector<float> y(static_cast<size_t>(call.rows * (pair ? w.n / 2 : w.n)));
  call.packed = packed.data();
  call.y = y.data();
  table.linear(call, 0, blocks(pair ? w.n / 2 : w.n, kPanel));
  return y;
}

void compare_linear(const KernelTable& table, const KernelTable& reference, const LinearCall& call,
                    const float* x) {
  const LinearWeight& w = call.weight;
  close(run_linear(table, call, x), run_linear(reference, call, x),
        std::string(table.name) + " linear n " + std::to_string(w.n) + " k " + std::to_string(w.k) +
            " rows " + std::to_string(call.rows) + " format " +
            std::to_string(static_cast<int>(w.format)) + " activations " +
            std::to_string(static_cast<int>(call.activations)),
        2e-4F);
}

void test_linear(const KernelTable& table, const KernelTable& reference) {
  Random random;
  for (const Epilogue epilogue : {Epilogue::kNone, Epilogue::kResidual, Epilogue::kSwiGlu}) {
    const bool pair = epilogue == Epilogue::kSwiGlu;
    for (const int64_t n : {2, 14, 34, 130}) {
      const int64_t panels = pair ? 2 * blocks(n / 2, kPanel) : blocks(n, kPanel);
      for (const int64_t k : {1, 31, 33, 300}) {
        const auto floats = random.floats(panels * k * kPanel);
        const auto int8 = random.bytes(panels * blocks(k, kBlock) * kBlock * kPanel);
        const auto int4 = random.bytes(panels * blocks(k, kBlock) * kBlock * kPanel / 2);
        const auto scales = random.scales(panels * blocks(k, kBlock) * kPanel);
        const auto bias = random.floats(n);
        for (const int64_t rows : {0, 1, 2, 3, 5, 7, 13, 33}) {
          const auto x = random.floats(rows * k);
          const auto residual = random.floats(rows * n);
          LinearCall call;
          call.epilogue = epilogue;
          call.rows = rows;
          call.residual = epilogue == Epilogue::kResidual ? residual.data() : nullptr;
          const float* added = pair ? nullptr : bias.data();
          const LinearWeight weights[] = {
              {WeightFormat::kFloat32, n, k, floats.data(), nullptr, added},
              {WeightFormat::kInt8, n, k, int8.data(), scales.data(), added},
              {WeightFormat::kInt4, n, k, int4.data(), scales.data(), added}};
          for (const LinearWeight& weight : weights) {
            call.weight = weight;
            compare_linear(table, reference, call, x.data());
            if (weight.format == WeightFormat::kFloat32) continue;
            call.activations = Activations::kInt8;
            compare_linear(table, reference, call, x.data());
            if (table.multiplies_bfloat16) {
              call.activations = Activations::kBfloat16;
              compare_linear(table, reference, call, x.data());
            }
            call.activations = Activations::kFloat32;
          }
        }
      }
    }
  }
}

// Fills pages position by position and attends in two tiles; slots never written hold NaN.
std::vector<float> run_attention(const KernelTable& table, const AttentionShape& shape,
                                 int64_t length, std::vector<float>* last_page) {
  Random random;
  const int64_t pages = blocks(length, kPage);
  const int64_t stride = shape.heads * shape.head_dim;
  std::vector<float> arena(static_cast<size_t>(pages * shape.page_bytes()) / sizeof(float),
                           std::numeric_limits<float>::quiet_NaN());
  auto* bytes = reinterpret_cast<uint8_t*>(arena.data());
  std::vector<int32_t> order;
  for (int64_t i = 0; i < pages; ++i) order.push_back(static_cast<int32_t>(pages - 1 - i));
  std::vector<float> q(static_cast<size_t>(length * stride));
  for (int64_t p = 0; p < length; ++p) {
    const auto qkv = random.floats((shape.heads + 2 * shape.kv_heads) * shape.head_dim);
    const auto cos = random.floats(shape.rotary_dim / 2);
    const auto sin = random.floats(shape.rotary_dim / 2);
    table.attention_prepare(
        shape, qkv.data(), cos.data(), sin.data(), 0, shape.kv_heads, q.data() + p * stride,
        bytes + order[static_cast<size_t>(p / kPage)] * shape.page_bytes(), p % kPage);
  }
  std::vector<float> out(q.size());
  for (int64_t head = 0; head < shape.kv_heads; ++head) {
    const int64_t first = length / 3;
    table.attention(shape, q.data(), 0, first, order.data(), bytes, head, out.data());
    table.attention(shape, q.data() + first * stride, first, length - first, order.data(), bytes,
                    head, out.data() + first * stride);
  }
  std::vector<float> copied(static_cast<size_t>(shape.page_bytes()) / sizeof(float), 0.0F);
  table.copy_page(shape, bytes + order.back() * shape.page_bytes(), copied.data(),
                  (length - 1) % kPage + 1);
  *last_page = copied;
  return out;
}

void test_attention(const KernelTable& table, const KernelTable& reference) {
  for (const bool half : {false, true}) {
    for (const int64_t dim : {1, 5, 16, 40, 64}) {
      const auto norm = Random().floats(dim);
      for (const int64_t length : {1, 31, 33, 70}) {
        AttentionShape shape;
        shape.heads = 4;
        shape.kv_heads = dim == 64 ? 1 : 2;
        shape.head_dim = dim;
        shape.rotary_dim = dim / 4 * 2;
        shape.scale = 0.3F;
        shape.q_norm = norm.data();
        shape.k_norm = dim == 16 ? norm.data() : nullptr;
        shape.kv_half = half;
        std::vector<float> page;
        std::vector<float> wanted_page;
        const auto got = run_attention(table, shape, length, &page);
        const auto wanted = run_attention(reference, shape, length, &wanted_page);
        const std::string what = std::string(table.name) + " attention dim " + std::to_string(dim) +
                                 " length " + std::to_string(length) + (half ? " half" : "");
        close(got, wanted, what, half ? 1e-2F : 1e-4F);
        if (!half) close(page, wanted_page, what + " copied page", 1e-5F);
      }
    }
  }
}

void test_dispatch() {
  size_t count = 0;
  const KernelTable* const* tables = available_tables(&count);
  check(count > 0 && std::strcmp(tables[count - 1]->name, "generic") == 0, "generic is last");
  for (size_t i = 0; i < count; ++i) {
    check(find_table(tables[i]->name) == tables[i], "find_table");
    check(table_problem(tables[i]->name) == nullptr, "no problem with a listed table");
  }
  CpuFeatures features;
  check(
      missing_for_avx2(features) == "avx2, fma, f16c, ymm registers saved by the operating system",
      "everything missing");
  features.avx2 = features.f16c = features.ymm_saved = true;
  check(missing_for_avx2(features) == "fma", "fma missing");
  features.fma = true;
  check(missing_for_avx2(features).empty(), "nothing missing");
  check(missing_for_avxvnni(features) == "avx_vnni", "avx_vnni missing");
  features.avx512f = features.avx512bw = features.avx512dq = features.avx512_vnni = true;
  check(missing_for_avx512(features) == "avx512vl, zmm registers saved by the operating system",
        "avx512vl missing");
  features.avx512vl = features.zmm_saved = true;
  check(missing_for_avx512(features).empty(), "nothing missing for avx512");
  features.avx512_bf16 = features.amx_tile = features.amx_int8 = features.amx_bf16 = true;
  check(missing_for_amx(features) == "tiles permitted by the operating system", "no permission");
  check(missing_for_neon(features) == "asimddp", "not an aarch64");
}

}  // namespace

namespace stepguard {

int run_table_tests(const Tables& tables) {
  test_dispatch();
  const KernelTable& reference = *tables.back();
  for (const KernelTable* table : tables) {
    test_rms_norm(*table, reference);
    test_table_rows(*table, reference);
    test_linear(*table, reference);
    test_attention(*table, reference);
  }
  return failures;
}

}  // namespace stepguard
