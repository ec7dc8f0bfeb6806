#include "op_bench.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace stepguard {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kLeastRuns = 3;

// Infinite where something is no number.
double error_of(const std::vector<float>& got, const std::vector<float>& wanted) {
  double square = 0.0, largest = 0.0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    const double difference = std::abs(static_cast<double>(got[i]) - wanted[i]);
    if (!(difference < std::numeric_limits<double>::infinity())) return difference;
    largest = std::max(largest, difference);
    square += static_cast<double>(wanted[i]) * wanted[i];
  }
  if (wanted.empty() || square == 0.0) throw std::invalid_argument("sizes: nothing to compare");
  return largest / std::sqrt(square / static_cast<double>(wanted.size()));
}

double seconds_of(OpCase& op, const KernelTable& table, ThreadPool& pool, int64_t turn) {
  const Clock::time_point started = Clock::now();
  op.run(table, pool, turn);
  return std::chrono::duration<double>(Clock::now() - started).count();
}

double median_seconds(OpCase& op, const KernelTable& table, ThreadPool& pool, double limit) {
  std::vector<double> times;
  double spent = 0.0;
  for (int64_t turn = 1; spent < limit || times.size() < kLeastRuns; ++turn) {
    times.push_back(seconds_of(op, table, pool, turn));
    spent += times.back();
  }
  std::nth_element(times.begin(), times.begin() + static_cast<int64_t>(times.size() / 2),
                   times.end());
  return times[times.size() / 2];
}

}  // namespace

OpReport measure_op(const std::string& op, const OpSizes& sizes,
                    const std::vector<std::string>& tables, int threads, double seconds,
                    double allowed) {
  const std::unique_ptr<OpCase> work = make_op_case(op, sizes);
  ThreadPool pool(threads);
  pool.begin_forward();
  OpReport report{work->arithmetic, work->bytes, work->operations, {}};
  std::fill(work->out.begin(), work->out.end(), 0.0F);
  work->run(*find_table("generic"), pool, 0);
  const std::vector<float> wanted = work->out;
  for (const std::string& name : tables) {
    const KernelTable* table = find_table(name.c_str());
    if (table == nullptr) {
      throw std::invalid_argument("table " + name + ": " + table_problem(name.c_str()));
    }
    if (report.arithmetic == "bf16" && !table->multiplies_bfloat16) {
      throw std::invalid_argument("table " + name + ": it does not multiply in bfloat16");
    }
    std::fill(work->out.begin(), work->out.end(), 0.0F);
    work->run(*table, pool, 0);
    OpRun run{name, error_of(work->out, wanted), 0.0};
    if (run.error <= allowed) run.seconds = median_seconds(*work, *table, pool, seconds);
    report.runs.push_back(run);
  }
  pool.end_forward();
  return report;
}

}  // namespace stepguard
