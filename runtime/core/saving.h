// The content of a State as bytes, for a later engine of the same model.
#pragma once

#include <string>

#include "arena.h"
#include "kernels.h"
#include "page_pool.h"

namespace stepguard {

// Where the content of States lies, and how much there is of it.
struct Shelves {
  const KernelTable& table;
  AttentionShape shape;  // of a page of one layer
  int64_t layers = 0, delta_layers = 0;
  int64_t conv_bytes = 0, delta_bytes = 0;  // of a slot of one layer
  int64_t context = 0;                      // longest State
  const Arena& pages;
  const Arena& conv;
  const Arena& delta;
};

// A header and the rows of its length; nothing that lies behind them in its pages.
std::string save_state(const Shelves& shelves, const State& state);

// A new State. Throws std::invalid_argument when the bytes do not fit this engine, std::bad_alloc
// when no page or slot is free.
StatePtr restore_state(const Shelves& shelves, const std::shared_ptr<PagePool>& pages,
                       const std::shared_ptr<PagePool>& slots, const std::string& bytes);

}  // namespace stepguard
