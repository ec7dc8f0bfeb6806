// What becomes of segments that fail, are late or are cancelled, and what the others get.
#include <cmath>

#include "planner_world.h"

using namespace stepguard;

namespace {

void a_path_longer_than_the_context_overflows() {
  World world(1024);
  const JobPtr job = world.add({segment(kContext + 1, world.root, true)});
  world.step();
  EXPECT_TRUE(job->wait(0));
  EXPECT_TRUE(job->results[0].reason == Reason::kOverflow);
}

void a_logit_that_is_not_finite_is_no_result() {
  World world;
  const JobPtr job = world.add({segment(3, world.root, true, 1)});
  const Forward forward = world.planner.plan();
  const float logits[] = {NAN}, hidden[] = {0.0F};
  world.planner.complete(forward, {logits, hidden, 1, nullptr, nullptr});
  EXPECT_TRUE(job->wait(0));
  EXPECT_TRUE(job->results[0].reason == Reason::kNumeric);
  EXPECT_TRUE(job->results[0].state == nullptr);
  EXPECT_EQ(world.pool->used(), 0);
}

void next_tokens_go_to_those_that_asked() {
  World world;
  SegmentSpec writes = segment(3, world.root), reads = segment(2, world.root, false, 1);
  SegmentSpec both = segment(4, world.root, true, 1);
  writes.next = both.next = true;
  const JobPtr job = world.add({writes, reads, both});
  const Forward forward = world.planner.plan();
  EXPECT_TRUE((forward.reads == std::vector<int32_t>{2, 4, 8}));
  EXPECT_TRUE((forward.nexts == std::vector<int32_t>{0, 2}));
  EXPECT_TRUE((forward.read_offsets == std::vector<int32_t>{0, 0, 1, 2}));
  const float logits[] = {1.0F, 2.0F}, hidden[] = {0.0F, 0.0F, 0.0F}, scores[] = {-0.5F, NAN};
  const int32_t ids[] = {7, 9};
  world.planner.complete(forward, {logits, hidden, 1, ids, scores});
  EXPECT_TRUE(job->wait(0));
  EXPECT_EQ(job->results[0].next, 7);
  EXPECT_TRUE(job->results[0].next_score == -0.5F);
  EXPECT_EQ(job->results[1].next, -1);
  EXPECT_TRUE(job->results[1].logits[0] == 1.0F);
  EXPECT_TRUE(job->results[2].reason == Reason::kNumeric);
  EXPECT_EQ(job->results[2].next, -1);
  EXPECT_TRUE(job->results[2].state == nullptr);
}

void a_cancelled_job_ends_and_gives_its_pages_back() {
  World world(64, 16);
  const JobPtr job = world.add({segment(40, world.root, true)});
  world.step();
  job->cancelled.store(true);
  EXPECT_TRUE(world.step().empty());
  EXPECT_TRUE(job->wait(0));
  EXPECT_TRUE(job->results[0].reason == Reason::kClosing);
  EXPECT_EQ(job->results[0].state->length(), 16);  // what was read
  job->results.clear();
  EXPECT_EQ(world.pool->used(), 0);
}

// A segment without tokens ends while it is planned: a forward that fails must take it along.
void a_failed_forward_takes_its_empty_children_along() {
  World world;
  const JobPtr job =
      world.add({segment(100, world.root, true), child(0, 0, true), child(12, 1, false, 1)});
  const Forward forward = world.planner.plan();
  EXPECT_EQ(forward.ids.size(), 100);
  world.planner.fail(forward, Reason::kInternal, "planted");
  EXPECT_TRUE(job->wait(0));
  for (const SegmentResult& result : job->results) {
    EXPECT_TRUE(result.reason == Reason::kInternal);
    EXPECT_TRUE(result.state == nullptr);
  }
  EXPECT_EQ(world.pool->used(), 0);
}

void what_is_late_keeps_the_part_that_was_read() {
  World world(64, 40);
  const Clock::time_point noon{};
  auto job = std::make_shared<Job>(
      std::vector<SegmentSpec>{segment(100, world.root, true), child(5, 0, false, 1)}, noon);
  world.planner.add(job);
  world.step();
  EXPECT_TRUE(world.planner.plan(noon, 40).empty());
  EXPECT_TRUE(job->wait(0));
  EXPECT_TRUE(job->results[0].reason == Reason::kDeadline);
  EXPECT_TRUE(job->results[1].reason == Reason::kDeadline);
  EXPECT_EQ(job->results[0].state->length(), 40);
  EXPECT_EQ(world.pool->used(), 2);
  const JobPtr rest = world.add({segment(60, job->results[0].state, true)});
  EXPECT_EQ(world.step().segments[0].copy_tokens, 8);  // the page's mark lies further on
  world.step();
  EXPECT_EQ(rest->results[0].state->length(), 100);
  rest->results.clear();
  job->results.clear();
  EXPECT_EQ(world.pool->used(), 0);
}

}  // namespace

int main() {
  a_path_longer_than_the_context_overflows();
  a_logit_that_is_not_finite_is_no_result();
  next_tokens_go_to_those_that_asked();
  a_cancelled_job_ends_and_gives_its_pages_back();
  a_failed_forward_takes_its_empty_children_along();
  what_is_late_keeps_the_part_that_was_read();
  return failures() == 0 ? 0 : 1;
}
