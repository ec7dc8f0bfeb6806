// The bitwise law, for every table: bits do not depend on how many rows, units or heads a call has.
// This needs no Python, so it runs on an emulated CPU too.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>

#include "law_checks.h"
#include "tested_tables.h"

namespace stepguard::law_tests {
namespace {

void test_attention(const KernelTable& table, bool half, int64_t dim) {
  AttentionShape shape;
  shape.heads = 6;
  shape.kv_heads = 2;
  shape.head_dim = dim;
  shape.rotary_dim = dim / 2 * 2;
  shape.scale = 0.2F;
  shape.kv_half = half;
  constexpr int64_t kLength = 85;
  const int64_t stride = shape.heads * dim;
  Floats arena(static_cast<size_t>(3 * shape.page_bytes()) / sizeof(float), NAN);
  const int32_t pages[] = {2, 0, 1};
  Floats q(static_cast<size_t>(kLength * stride));
  for (int64_t p = 0; p < kLength; ++p) {
    const Floats row = random_floats((shape.heads + 2 * shape.kv_heads) * dim);
    const Floats turn = random_floats(dim);
    auto* page = reinterpret_cast<uint8_t*>(arena.data()) + pages[p / kPage] * shape.page_bytes();
    table.attention_prepare(shape, row.data(), turn.data(), turn.data(), 0, 2, &q[p * stride], page,
                            p % kPage);
  }
  const auto run = [&](int64_t cut) {
    Floats out(q.size());
    for (int64_t first = 0; first < kLength; first += cut) {
      for (int64_t head = 0; head < shape.kv_heads; ++head) {
        table.attention(shape, &q[first * stride], first, std::min(cut, kLength - first), pages,
                        arena.data(), head, &out[first * stride]);
      }
    }
    return out;
  };
  const Floats whole = run(kLength);
  for (const int64_t cut : {1, 2, 3, 7, 16, 31, 64}) {
    check_bits(run(cut), whole,
               std::string(table.name) + " attention dim " + std::to_string(dim) +
                   (half ? " half, " : ", ") + std::to_string(cut) + " rows a call");
  }
}

void test_delta(const KernelTable& table, int64_t k_dim, int64_t v_dim) {
  DeltaShape shape;
  shape.k_heads = 2;
  shape.v_heads = 4;
  shape.k_dim = k_dim;
  shape.v_dim = v_dim;
  shape.conv_width = 4;
  const int64_t channels = 4 * k_dim + 4 * v_dim;
  const Floats conv = random_floats(channels * 4);
  const Floats gates = random_floats(8);
  const Floats norm = random_floats(v_dim);
  shape.conv_weight = conv.data();
  shape.a_log = gates.data();
  shape.dt_bias = gates.data() + 4;
  shape.norm = norm.data();
  constexpr int64_t kRows = 21;
  const Floats qkvz = random_floats(kRows * (channels + 4 * v_dim));
  const Floats ba = random_floats(kRows * 8);
  const auto run = [&](int64_t cut) {  // outputs, then the state at the end
    Floats tail(static_cast<size_t>(channels * 3));
    Floats state(static_cast<size_t>(4 * k_dim * v_dim));
    Floats out(static_cast<size_t>(kRows * 4 * v_dim));
    Floats work(static_cast<size_t>(kRows * (channels + 8)));
    for (int64_t first = 0; first < kRows; first += cut) {
      DeltaCall call;
      call.rows = std::min(cut, kRows - first);
      call.qkvz = &qkvz[first * (channels + 4 * v_dim)];
      call.ba = &ba[first * 8];
      call.conv_source = first == 0 ? nullptr : tail.data();
      call.delta_source = first == 0 ? nullptr : state.data();
      call.conv_target = tail.data();
      call.delta_target = state.data();
      call.qkv = work.data();
      call.gates = work.data() + kRows * channels;
      call.out = &out[first * 4 * v_dim];
      for (int64_t u = 0; u < 8; ++u) table.delta_prepare(shape, call, u, u + 1);
      for (int64_t h = 0; h < 4; h += cut)
        table.delta_rule(shape, call, h, std::min(h + cut, int64_t{4}));
    }
    out.insert(out.end(), tail.begin(), tail.end());
    out.insert(out.end(), state.begin(), state.end());
    return out;
  };
  const Floats whole = run(kRows);
  for (const int64_t cut : {1, 2, 5}) {
    check_bits(run(cut), whole,
               std::string(table.name) + " delta " + std::to_string(v_dim) + ", " +
                   std::to_string(cut) + " rows a segment");
  }
}

void test_table(const KernelTable& table) {
  test_linears(table);
  for (const bool half : {false, true}) {
    for (const int64_t dim : {20, 64, 72}) test_attention(table, half, dim);
  }
  test_delta(table, 9, 37);
  test_delta(table, 32, 64);
}

}  // namespace
}  // namespace stepguard::law_tests

namespace stepguard {

int run_law_tests(const Tables& tables) {
  for (const KernelTable* table : tables) {
    std::printf("%s\n", table->name);
    law_tests::test_table(*table);
  }
  return law_tests::failures();
}

}  // namespace stepguard
