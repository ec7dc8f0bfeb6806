#include "planner.h"

#include <cmath>
#include <numeric>

#include "expect.h"

using namespace stepguard;

namespace {

constexpr int64_t kContext = 20000;

struct World {
  explicit World(int pages = 64, int64_t chunk = 100)
      : pool(std::make_shared<PagePool>(pages)),
        root(std::make_shared<const State>(pool, std::vector<int32_t>{}, 0)),
        planner(pool, kContext, chunk) {}
  std::shared_ptr<PagePool> pool;
  StatePtr root;
  Planner planner;

  JobPtr add(std::vector<SegmentSpec> specs) {
    auto job = std::make_shared<Job>(std::move(specs));
    planner.add(job);
    return job;
  }
  // Runs one forward whose logits count up from 1 and gives it back.
  Forward step() {
    Forward forward = planner.plan();
    std::vector<float> logits(forward.read_ids.size()), hidden(forward.reads.size());
    std::iota(logits.begin(), logits.end(), 1.0F);
    if (!forward.empty())
      planner.complete(forward, {logits.data(), hidden.data(), 1, nullptr, nullptr});
    return forward;
  }
};

SegmentSpec segment(int tokens, StatePtr parent, bool keep = false, int reads = 0) {
  SegmentSpec spec;
  spec.tokens.assign(static_cast<size_t>(tokens), 7);
  spec.parent = std::move(parent);
  spec.keep = keep;
  spec.read.assign(static_cast<size_t>(reads), 3);
  return spec;
}

SegmentSpec child(int tokens, int parent, bool keep = false, int reads = 0) {
  SegmentSpec spec = segment(tokens, nullptr, keep, reads);
  spec.parent_index = parent;
  return spec;
}

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

void an_empty_kept_segment_is_its_parent_again() {
  World world;
  const JobPtr job = world.add({segment(5, world.root, true), child(0, 0, true)});
  world.step();
  EXPECT_TRUE(job->wait(0));
  EXPECT_EQ(job->results[1].state->length(), 5);
  EXPECT_EQ(job->results[1].state->pages()[0], job->results[0].state->pages()[0]);
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
  a_long_segment_is_fed_in_chunks_and_its_child_waits();
  strangers_share_a_forward();
  too_little_memory_fails_that_segment_and_its_children();
  a_segment_waits_for_pages_that_come_back();
  a_started_segment_goes_on_while_another_waits();
  a_path_longer_than_the_context_overflows();
  a_logit_that_is_not_finite_is_no_result();
  next_tokens_go_to_those_that_asked();
  a_cancelled_job_ends_and_gives_its_pages_back();
  an_empty_kept_segment_is_its_parent_again();
  a_failed_forward_takes_its_empty_children_along();
  a_copied_page_is_held_until_the_forward_has_run();
  a_small_check_passes_a_long_read_which_still_goes_on();
  a_stream_of_small_jobs_starves_nobody();
  a_budget_bounds_a_forward();
  what_is_late_keeps_the_part_that_was_read();
  a_small_budget_costs_a_question_no_slot();
  a_job_that_holds_memory_goes_on_where_another_waits_for_it();
  return failures() == 0 ? 0 : 1;
}
