#include "thread_pool.h"

#include <numeric>

#include "expect.h"

using namespace stepguard;

namespace {

void every_item_is_done_once(int threads, bool hot) {
  ThreadPool pool(threads);
  EXPECT_EQ(pool.threads(), threads);
  Parallel& parallel = pool;
  for (int round = 0; round < 500; ++round) {
    if (hot) pool.begin_forward();
    std::vector<int> done(static_cast<size_t>(1 + round % 97));
    parallel.for_range(static_cast<int64_t>(done.size()), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) ++done[static_cast<size_t>(i)];
    });
    EXPECT_EQ(std::accumulate(done.begin(), done.end(), 0), done.size());
    if (hot) pool.end_forward();
  }
}

void a_stopped_pool_works_alone() {
  ThreadPool pool(3);
  pool.stop();
  pool.stop();
  EXPECT_EQ(pool.threads(), 1);
  int done = 0;
  static_cast<Parallel&>(pool).for_range(
      10, 1, [&](int64_t begin, int64_t end) { done += static_cast<int>(end - begin); });
  EXPECT_EQ(done, 10);
}

void nothing_to_do_is_fine() {
  ThreadPool pool(2);
  int calls = 0;
  static_cast<Parallel&>(pool).for_range(0, 4, [&](int64_t, int64_t) { ++calls; });
  EXPECT_EQ(calls, 0);
}

}  // namespace

int main() {
  for (const int threads : {1, 2, 4}) {
    every_item_is_done_once(threads, false);
    every_item_is_done_once(threads, true);
  }
  a_stopped_pool_works_alone();
  nothing_to_do_is_fine();
  return failures() == 0 ? 0 : 1;
}
