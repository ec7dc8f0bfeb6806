// Rows of a batch on a GPU against plain loops: what is read of them, gathered, chosen, rotated and
// gated; bit for bit what the same rows are alone.
#include <algorithm>

#include "device_checks.h"
#include "device_operands.h"

namespace stepguard::device_tests {
namespace {

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

}  // namespace

void test_rows(const cuda::Table& library) {
  test_read_out(library);
  test_gather(library);
  test_best(library);
  test_rotary(library);
  test_gate(library);
}

}  // namespace stepguard::device_tests
