// The bitwise law of Linear, and its order, written out: every table has the bits of one chain of
// multiply-adds per output, apart from the reference, which sums in double, and tiles, which sum 32
// float32 products in an order of their own.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "bfloat16_rows.h"
#include "integer_rows.h"
#include "law_checks.h"

namespace stepguard::law_tests {
namespace {

// Weights of any format, and one Linear over rows of x, cut as threads would.
struct Case {
  LinearWeight weight;
  Activations activations;
  Epilogue epilogue;
  Floats floats, bias;
  std::vector<uint8_t> bytes;
  std::vector<uint16_t> scales;

  Case(WeightFormat format, Activations activations_of, Epilogue epilogue_of, int64_t n, int64_t k)
      : activations(activations_of), epilogue(epilogue_of), bias(random_floats(n)) {
    const int64_t panels = 2 * blocks(n, 2 * kPanel);
    const int64_t padded = blocks(k, kBlock) * kBlock;
    floats = random_floats(format == WeightFormat::kFloat32 ? panels * k * kPanel : 0);
    bytes = random_bytes(panels * padded * kPanel);
    for (int64_t i = 0; i < panels * padded / kBlock * kPanel; ++i) {
      scales.push_back(float_to_half(random_floats(1)[0] * 0.01F));
    }
    weight = LinearWeight{format, n, k, bytes.data(), scales.data(), nullptr};
    if (format == WeightFormat::kFloat32) weight.data = floats.data();
    if (epilogue != Epilogue::kSwiGlu) weight.bias = bias.data();
  }

  int64_t width() const { return epilogue == Epilogue::kSwiGlu ? weight.n / 2 : weight.n; }

  Floats run(const KernelTable& table, const Floats& x, const Floats& residual, int64_t cut) const {
    LinearCall call;
    call.weight = weight;
    call.activations = activations;
    call.epilogue = epilogue;
    call.rows = static_cast<int64_t>(x.size()) / weight.k;
    const LinearInput input{weight.format, activations, call.rows, weight.k};
    Floats packed(table.linear_packed_bytes(input) / sizeof(float));
    for (int64_t b = 0; b < table.linear_blocks(input); b += cut) {
      table.linear_pack(input, x.data(), b, std::min(b + cut, table.linear_blocks(input)),
                        packed.data());
    }
    Floats y(static_cast<size_t>(call.rows * width()));
    call.packed = packed.data();
    call.residual = epilogue == Epilogue::kResidual ? residual.data() : nullptr;
    call.y = y.data();
    const int64_t units = blocks(width(), kPanel);
    for (int64_t u = 0; u < units; u += cut) table.linear(call, u, std::min(u + cut, units));
    return y;
  }

  // Weight k of a column, without its scale if it has one.
  int integer(int64_t column, int64_t k) const {
    const int64_t padded = blocks(weight.k, kBlock) * kBlock;
    const int64_t panel = column / kPanel * padded * kPanel;
    const int64_t lane = column % kPanel;
    if (weight.format == WeightFormat::kInt8) {
      return static_cast<int8_t>(bytes[panel + k / 4 * kPanel * 4 + lane * 4 + k % 4]);
    }
    const int pair = bytes[panel / 2 + k / 8 * kPanel * 4 + lane * 4 + k % 8 / 2];
    return (k % 2 == 0 ? pair & 15 : pair >> 4) - 8;
  }
  float scale(int64_t column, int64_t k) const {
    const int64_t block = column / kPanel * blocks(weight.k, kBlock) + k / kBlock;
    return half_to_float(scales[static_cast<size_t>(block * kPanel + column % kPanel)]);
  }
  float decoded(int64_t column, int64_t k) const {
    if (weight.format == WeightFormat::kFloat32) {
      return floats[(column / kPanel * weight.k + k) * kPanel + column % kPanel];
    }
    return scale(column, k) * static_cast<float>(integer(column, k));
  }

  float float_chain(const float* x, int64_t column) const {
    float sum = 0.0F;
    for (int64_t k = 0; k < weight.k; ++k) sum = std::fma(x[k], decoded(column, k), sum);
    return sum;
  }
  float integer_chain(const float* x, int64_t column) const {
    float sum = 0.0F;
    for (int64_t first = 0; first < weight.k; first += kBlock) {
      const int64_t end = std::min(first + kBlock, weight.k);
      float most = 0.0F;
      for (int64_t k = first; k < end; ++k) most = std::max(most, std::fabs(x[k]));
      uint32_t bits;
      std::memcpy(&bits, &most, sizeof bits);
      const IntegerScale rounding = integer_scale(bits, integer_levels(weight.format));
      int64_t total = 0;
      for (int64_t k = first; k < end; ++k) {
        total += integer(column, k) * static_cast<int64_t>(std::nearbyint(x[k] * rounding.inverse));
      }
      const float scales_product = rounding.scale * scale(column, first);
      sum = std::fma(scales_product, static_cast<float>(total), sum);
    }
    return sum;
  }
  // Of every 32 products the even and the odd ones have a chain each; subnormals are zero.
  float bfloat16_chain(const float* x, int64_t column) const {
    const auto flush = [](float y) { return std::fabs(y) < 0x1p-126F ? 0.0F : y; };
    float sum = 0.0F;
    for (int64_t first = 0; first < weight.k; first += kBlock) {
      float chains[2] = {0.0F, 0.0F};
      for (int64_t k = first; k < std::min(first + kBlock, weight.k); ++k) {
        const auto value = static_cast<float>(integer(column, k));
        chains[k % 2] = flush(std::fma(round_to_bfloat16(x[k]),
                                       bfloat16_weight(scale(column, k), value), chains[k % 2]));
      }
      sum = flush(sum + flush(chains[0] + chains[1]));
    }
    return sum;
  }
  bool has_chain(const KernelTable& table) const {
    if (std::strcmp(table.name, "generic") == 0) return false;
    return std::strcmp(table.name, "amx") != 0 || weight.format == WeightFormat::kFloat32 ||
           activations != Activations::kFloat32;
  }
  Floats chain(const Floats& x) const {
    Floats y;
    for (size_t at = 0; at < x.size(); at += static_cast<size_t>(weight.k)) {
      for (int64_t column = 0; column < weight.n; ++column) {
        const float sum = activations == Activations::kInt8       ? integer_chain(&x[at], column)
                          : activations == Activations::kBfloat16 ? bfloat16_chain(&x[at], column)
                                                                  : float_chain(&x[at], column);
        y.push_back(sum + bias[static_cast<size_t>(column)]);
      }
    }
    return y;
  }
};

void test_linear(const KernelTable& table, WeightFormat format, Activations activations) {
  const std::string name = std::string(table.name) + " linear, format " +
                           std::to_string(static_cast<int>(format)) + " activations " +
                           std::to_string(static_cast<int>(activations));
  for (const Epilogue epilogue : {Epilogue::kNone, Epilogue::kResidual, Epilogue::kSwiGlu}) {
    const Case linear(format, activations, epilogue, 134, 333);
    const Floats x = random_floats(37 * 333);
    const Floats residual = random_floats(37 * 134);
    const Floats whole = linear.run(table, x, residual, 1000);
    if (epilogue == Epilogue::kNone && linear.has_chain(table)) {
      check_bits(whole, linear.chain(x), name + ", the chain");
    }
    check_bits(linear.run(table, x, residual, 1), whole, name + ", unit by unit");
    check_bits(linear.run(table, x, residual, 3), whole, name + ", three units a call");
    for (const int64_t count : {1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 16, 17, 25, 32, 33}) {
      const int64_t end = 3 + std::min<int64_t>(count, 34);
      check_bits(linear.run(table, rows_of(x, 333, 3, end), rows_of(residual, 134, 3, end), 1000),
                 rows_of(whole, linear.width(), 3, end), name + ", " + std::to_string(count));
    }
  }
}

// Rows whose integers are as large as they can be, of every sign; tiny ones, whose integers are 0;
// and NaN, which every output of its row must show, and no other.
void test_extremes(const KernelTable& table, WeightFormat format) {
  const Case linear(format, Activations::kInt8, Epilogue::kNone, 40, 96);
  const std::string name =
      std::string(table.name) + " extremes, format " + std::to_string(static_cast<int>(format));
  Floats x = random_floats(9 * 96);
  for (size_t i = 0; i < x.size(); ++i) {
    const int64_t row = static_cast<int64_t>(i) / 96;
    const float sign = row == 1 || (row > 1 && x[i] > 0.0F) ? -1.0F : 1.0F;
    x[i] = row < 6 ? sign * integer_levels(format) : row == 6 ? 1e-42F : x[i];
  }
  const Floats clean = linear.run(table, x, {}, 1000);
  if (linear.has_chain(table)) check_bits(clean, linear.chain(x), name);
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    Floats with = x;
    with[8 * 96 + 50] = bad;
    const Floats y = linear.run(table, with, {}, 1000);
    check_bits(rows_of(y, 40, 0, 8), rows_of(clean, 40, 0, 8), name + ", rows beside NaN");
    for (int64_t column = 0; column < 40; ++column) {
      if (std::isnan(y[static_cast<size_t>(8 * 40 + column)])) continue;
      ++failures();
      std::printf("FAILED %s: column %d hides NaN\n", name.c_str(), static_cast<int>(column));
    }
  }
}

}  // namespace

void test_linears(const KernelTable& table) {
  test_linear(table, WeightFormat::kFloat32, Activations::kFloat32);
  for (const WeightFormat format : {WeightFormat::kInt8, WeightFormat::kInt4}) {
    test_linear(table, format, Activations::kFloat32);
    test_linear(table, format, Activations::kInt8);
    if (table.multiplies_bfloat16) test_linear(table, format, Activations::kBfloat16);
    test_extremes(table, format);
  }
}

}  // namespace stepguard::law_tests
