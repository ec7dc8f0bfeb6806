// Who gets how much of a forward. Pure: numbers in, an order out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "segment.h"

namespace stepguard {

// What a job still wants.
struct Demand {
  int64_t remaining;  // tokens of all its segments that no forward has taken
  Clock::time_point deadline;
};

// A turn of a job: it may take `tokens`, if so many are left.
struct Turn {
  size_t job;
  int64_t tokens;
};

// The budget of a forward: all that remains of a job that is alone, if three budgets hold it.
// Nobody waits, so what is nearly done is not cut for the sake of others; but a deadline is looked
// at between forwards.
int64_t forward_budget(const std::vector<Demand>& demands, int64_t budget);

// The turns of one forward of `budget` tokens; `demands` in order of arrival.
//
// The oldest job comes first, so that nobody takes the memory for which it waits, with a quarter of
// the budget (rounded up), or more where the others leave more: every job becomes the oldest, so
// nobody starves. Then least remaining work first (ties: the earlier deadline, then arrival): a
// small check passes a long read. The last turn is the oldest's again: what the others could not
// use.
std::vector<Turn> take_turns(const std::vector<Demand>& demands, int64_t budget);

}  // namespace stepguard
