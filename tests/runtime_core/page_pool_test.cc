#include "page_pool.h"

#include "expect.h"

using namespace stepguard;

namespace {

void hands_out_the_lowest_free_page() {
  PagePool pool(3);
  EXPECT_EQ(pool.allocate(), 0);
  EXPECT_EQ(pool.allocate(), 1);
  EXPECT_EQ(pool.allocate(), 2);
  EXPECT_EQ(pool.allocate(), -1);
  pool.release(1);
  pool.release(0);
  EXPECT_EQ(pool.used(), 1);
  EXPECT_EQ(pool.allocate(), 0);
}

void counts_owners() {
  PagePool pool(1);
  const int page = pool.allocate();
  pool.retain(page);
  pool.release(page);
  EXPECT_EQ(pool.used(), 1);
  pool.release(page);
  EXPECT_EQ(pool.used(), 0);
}

void only_the_first_child_extends_in_place() {
  PagePool pool(1);
  const int page = pool.allocate();
  pool.set_mark(page, 5);
  EXPECT_TRUE(!pool.extend(page, 4, 9));
  EXPECT_TRUE(pool.extend(page, 5, 20));
  EXPECT_TRUE(!pool.extend(page, 5, 20));
  EXPECT_TRUE(pool.extend(page, 20, 32));
}

void a_state_gives_its_pages_back() {
  auto pool = std::make_shared<PagePool>(2);
  {
    const State state(pool, {pool->allocate(), pool->allocate()}, 40);
    EXPECT_EQ(pool->used(), 2);
  }
  EXPECT_EQ(pool->used(), 0);
}

}  // namespace

int main() {
  hands_out_the_lowest_free_page();
  counts_owners();
  only_the_first_child_extends_in_place();
  a_state_gives_its_pages_back();
  return failures() == 0 ? 0 : 1;
}
