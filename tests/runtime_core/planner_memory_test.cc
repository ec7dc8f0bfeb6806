// Pages and slots: who gets them, who waits for them, and that all of them come back.
#include "planner_world.h"

using namespace stepguard;

namespace {

struct Hybrid {
  Hybrid(int pages, int slots, int64_t chunk)
      : pool(std::make_shared<PagePool>(pages)),
        slots(std::make_shared<PagePool>(slots)),
        root(std::make_shared<const State>(pool, std::vector<int32_t>{}, 0)),
        planner(pool, kContext, chunk, this->slots) {}
  std::shared_ptr<PagePool> pool, slots;
  StatePtr root;
  Planner planner;

  Forward step(int64_t budget) {
    Forward forward = planner.plan(Clock::time_point::min(), budget);
    std::vector<float> logits(forward.read_ids.size()), hidden(forward.reads.size());
    if (!forward.empty())
      planner.complete(forward, {logits.data(), hidden.data(), 1, nullptr, nullptr});
    return forward;
  }
};

void a_question_leaves_no_page_behind() {
  World world;
  const JobPtr job = world.add({segment(40, world.root, true), child(10, 0, false, 2)});
  const Forward forward = world.step();
  EXPECT_EQ(forward.ids.size(), 50);
  EXPECT_EQ(forward.segments.size(), 2);
  EXPECT_EQ(forward.segments[1].position, 40);
  EXPECT_EQ(forward.segments[1].copy_tokens, 8);
  EXPECT_EQ(forward.reads[0], 49);
  EXPECT_TRUE(job->wait(0));
  EXPECT_EQ(job->results[0].state->length(), 40);
  EXPECT_EQ(job->results[1].logits.size(), 2);
  EXPECT_TRUE(job->results[1].state == nullptr);
  EXPECT_EQ(world.pool->used(), 2);
}

void the_first_kept_child_extends_and_the_second_copies() {
  World world;
  const JobPtr first = world.add({segment(5, world.root, true)});
  world.step();
  const StatePtr parent = first->results[0].state;
  world.add({segment(3, parent, true), segment(3, parent, true)});
  const Forward forward = world.step();
  EXPECT_EQ(forward.segments[0].copy_source, -1);
  EXPECT_EQ(forward.pages[0], parent->pages()[0]);
  EXPECT_EQ(forward.segments[1].copy_source, parent->pages()[0]);
  EXPECT_EQ(forward.segments[1].copy_tokens, 5);
  EXPECT_TRUE(forward.segments[1].copy_target != parent->pages()[0]);
}

void too_little_memory_fails_that_segment_and_its_children() {
  World world(2);
  const JobPtr job = world.add({segment(100, world.root, true), child(4, 0, false, 1)});
  const JobPtr small = world.add({segment(10, world.root, false, 1)});
  EXPECT_TRUE(world.step().empty());  // nothing runs for which it could wait
  EXPECT_TRUE(job->wait(0));
  EXPECT_TRUE(job->results[0].reason == Reason::kMemory);
  EXPECT_TRUE(job->results[1].reason == Reason::kMemory);
  EXPECT_EQ(world.step().ids.size(), 10);
  EXPECT_TRUE(small->wait(0));
  EXPECT_TRUE(small->results[0].reason == Reason::kNone);
  EXPECT_EQ(world.pool->used(), 0);
}

// Pages that a running question holds come back: what needs them waits, and nobody overtakes it.
void a_segment_waits_for_pages_that_come_back() {
  World world(3);
  const JobPtr job =
      world.add({segment(30, world.root, true), child(30, 0, false, 1), child(30, 0, true)});
  const JobPtr later = world.add({segment(1, world.root, false, 1)});
  EXPECT_EQ(world.step().ids.size(), 60);  // the first and its question fill the pool
  EXPECT_TRUE(!job->wait(0));
  EXPECT_EQ(world.step().ids.size(), 31);
  EXPECT_TRUE(job->wait(0));
  EXPECT_TRUE(later->wait(0));
  for (const SegmentResult& result : job->results) EXPECT_TRUE(result.reason == Reason::kNone);
  EXPECT_EQ(world.pool->used(), 2);
}

void a_started_segment_goes_on_while_another_waits() {
  World world(4, 16);
  const JobPtr running = world.add({segment(40, world.root, true)});
  world.step();
  const JobPtr waiting = world.add({segment(90, world.root, true)});
  EXPECT_EQ(world.step().ids.size(), 16);
  EXPECT_EQ(world.step().ids.size(), 8);
  EXPECT_TRUE(running->wait(0));
  EXPECT_TRUE(world.step().empty());
  EXPECT_TRUE(waiting->results[0].reason == Reason::kMemory);
}

void an_empty_kept_segment_is_its_parent_again() {
  World world;
  const JobPtr job = world.add({segment(5, world.root, true), child(0, 0, true)});
  world.step();
  EXPECT_TRUE(job->wait(0));
  EXPECT_EQ(job->results[1].state->length(), 5);
  EXPECT_EQ(job->results[1].state->pages()[0], job->results[0].state->pages()[0]);
}

// The page of a parent that is not kept must not be handed out again before its copy is made.
void a_copied_page_is_held_until_the_forward_has_run() {
  World world(4, 8);
  const JobPtr job =
      world.add({segment(8, world.root), child(8, 0, false, 1), child(8, 0, false, 1)});
  world.step();  // the parent alone
  const Forward first = world.planner.plan();
  const int source = first.segments[0].copy_source;
  const std::vector<float> logits(1), hidden(1);
  world.planner.complete(first, {logits.data(), hidden.data(), 1, nullptr, nullptr});
  const Forward second = world.planner.plan();  // its last child: nobody else needs the parent
  EXPECT_EQ(second.segments[0].copy_source, source);
  EXPECT_TRUE(second.segments[0].copy_target != source);
  const JobPtr stranger = world.add({segment(4, world.root, true)});
  (void)stranger;
  EXPECT_EQ(second.held.size(), 1);
  EXPECT_EQ(second.held[0]->pages()[0], source);
  world.planner.complete(second, {logits.data(), hidden.data(), 1, nullptr, nullptr});
  EXPECT_TRUE(job->wait(0));
}

void a_small_budget_costs_a_question_no_slot() {
  Hybrid world(64, 1, 100);
  const auto kept = std::make_shared<Job>(std::vector<SegmentSpec>{segment(8, world.root, true)});
  world.planner.add(kept);
  world.step(100);
  EXPECT_EQ(world.slots->used(), 1);
  const auto asked = std::make_shared<Job>(
      std::vector<SegmentSpec>{segment(40, kept->results[0].state, false, 1)});
  world.planner.add(asked);
  EXPECT_EQ(world.step(16).ids.size(), 40);  // in one piece
  EXPECT_TRUE(asked->results[0].reason == Reason::kNone);
}

void a_job_that_holds_memory_goes_on_where_another_waits_for_it() {
  World world(5, 16);
  const JobPtr waits = world.add({segment(4, world.root), child(100, 0, false, 1)});
  const JobPtr holds = world.add({segment(12, world.root), child(24, 0, false, 1)});
  EXPECT_EQ(world.step().ids.size(), 16);  // a page each; the child of the first one needs four
  for (int i = 0; i < 20 && !waits->wait(0); ++i) world.step();
  EXPECT_TRUE(holds->wait(0) && waits->wait(0));
  EXPECT_TRUE(holds->results[1].reason == Reason::kNone);
  EXPECT_TRUE(waits->results[1].reason == Reason::kNone);
}

}  // namespace

int main() {
  a_question_leaves_no_page_behind();
  the_first_kept_child_extends_and_the_second_copies();
  too_little_memory_fails_that_segment_and_its_children();
  a_segment_waits_for_pages_that_come_back();
  a_started_segment_goes_on_while_another_waits();
  an_empty_kept_segment_is_its_parent_again();
  a_copied_page_is_held_until_the_forward_has_run();
  a_small_budget_costs_a_question_no_slot();
  a_job_that_holds_memory_goes_on_where_another_waits_for_it();
  return failures() == 0 ? 0 : 1;
}
