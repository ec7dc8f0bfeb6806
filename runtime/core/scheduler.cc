#include "scheduler.h"

#include <algorithm>
#include <numeric>
#include <tuple>

namespace stepguard {
namespace {

constexpr int64_t kOldestShare = 4;  // one part in so many is the oldest job's
constexpr int64_t kAlone = 3;        // budgets that a job which is alone may take at once

}  // namespace

int64_t forward_budget(const std::vector<Demand>& demands, int64_t budget) {
  const bool alone = demands.size() == 1 && demands[0].deadline == Clock::time_point::max();
  if (!alone || (demands[0].remaining + kAlone - 1) / kAlone > budget) return budget;
  return demands[0].remaining;
}

std::vector<Turn> take_turns(const std::vector<Demand>& demands, int64_t budget) {
  if (demands.empty()) return {};
  std::vector<size_t> order(demands.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return std::tie(demands[a].remaining, demands[a].deadline, a) <
           std::tie(demands[b].remaining, demands[b].deadline, b);
  });
  int64_t before_oldest = 0;
  for (size_t i = 0; order[i] != 0 && before_oldest < budget; ++i) {
    before_oldest += demands[order[i]].remaining;
  }
  const int64_t share = (budget + kOldestShare - 1) / kOldestShare;
  std::vector<Turn> turns{{0, std::max(share, budget - before_oldest)}};
  for (const size_t job : order) {
    if (job != 0) turns.push_back({job, budget});
  }
  turns.push_back({0, budget});
  return turns;
}

}  // namespace stepguard
