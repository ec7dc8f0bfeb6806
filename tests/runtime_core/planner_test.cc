// Which tokens run next, and in whose forward.
#include "planner_world.h"

using namespace stepguard;

namespace {

void a_long_segment_is_fed_in_chunks_and_its_child_waits() {
  World world(64, 16);
  const JobPtr job = world.add({segment(40, world.root, true), child(4, 0, false, 1)});
  EXPECT_EQ(world.step().ids.size(), 16);
  EXPECT_EQ(world.step().ids.size(), 16);
  EXPECT_TRUE(!job->wait(0));
  const Forward last = world.step();  // the rest of the first and the whole second
  EXPECT_EQ(last.ids.size(), 12);
  EXPECT_EQ(last.segments.size(), 2);
  EXPECT_EQ(last.segments[0].position, 32);
  EXPECT_TRUE(job->wait(0));
}

void strangers_share_a_forward() {
  World world;
  for (int i = 0; i < 3; ++i) world.add({segment(10, world.root, false, 1)});
  const Forward forward = world.step();
  EXPECT_EQ(forward.ids.size(), 30);
  EXPECT_EQ(forward.reads.size(), 3);
  EXPECT_TRUE(world.planner.idle());
  EXPECT_EQ(world.pool->used(), 0);
}

void a_small_check_passes_a_long_read_which_still_goes_on() {
  World world(1024, 64);
  const JobPtr read = world.add({segment(16000, world.root, true)});
  world.step();
  const JobPtr check = world.add({segment(16, world.root, true), child(24, 0, false, 1)});
  for (int forwards = 0; !check->wait(0); ++forwards) {
    EXPECT_TRUE(forwards < 3);
    const Forward forward = world.step();
    int64_t of_read = 0;
    for (const SegmentRow& row : forward.segments) of_read += row.position >= 64 ? row.rows : 0;
    EXPECT_TRUE(of_read >= 16);  // a quarter of the tokens
  }
  EXPECT_TRUE(!read->wait(0));
}

void a_stream_of_small_jobs_starves_nobody() {
  World world(1024, 64);
  const JobPtr read = world.add({segment(640, world.root, true)});
  int forwards = 0;
  for (; !read->wait(0) && forwards < 100; ++forwards) {
    for (int i = 0; i < 4; ++i) world.add({segment(30, world.root, false, 1)});
    world.step();
  }
  EXPECT_EQ(forwards, 40);  // a quarter of 64 tokens each time
}

void a_budget_bounds_a_forward() {
  World world(64, 64);
  world.add({segment(100, world.root)});
  EXPECT_EQ(world.planner.plan(Clock::time_point::min(), 20).ids.size(), 20);
}

}  // namespace

int main() {
  a_long_segment_is_fed_in_chunks_and_its_child_waits();
  strangers_share_a_forward();
  a_small_check_passes_a_long_read_which_still_goes_on();
  a_stream_of_small_jobs_starves_nobody();
  a_budget_bounds_a_forward();
  return failures() == 0 ? 0 : 1;
}
