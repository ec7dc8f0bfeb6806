// What an engine refuses before anything runs.
#include <unistd.h>

#include <stdexcept>

#include "engine_impl.h"
#include "error.h"

namespace stepguard {

void Engine::Impl::check_usable() const {
  if (getpid() != pid) {
    throw Error(ErrorKind::kForked, "this guard", "the process that loaded it",
                "a child made by fork()", "Load the guard in the child, after the fork.");
  }
}

void Engine::Impl::check_open() const {
  if (!stop) return;
  throw Error(ErrorKind::kEngineClosed, "this guard", "an open guard", "one that was closed",
              "Load it again.");
}

void Engine::Impl::check_spec(const SegmentSpec& spec, size_t index) const {
  const auto refuse = [&](const std::string& text) {
    throw std::invalid_argument("segment " + std::to_string(index) + ": " + text);
  };
  if (spec.parent_index >= 0) {
    if (static_cast<size_t>(spec.parent_index) >= index) {
      refuse("parent " + std::to_string(spec.parent_index) + " does not come before it");
    }
  } else if (!spec.parent) {
    refuse("no parent");
  } else if (spec.parent->pool() != pool.get()) {
    refuse("its parent is a State of another engine");
  }
  if (spec.parent && spec.parent->spent()) refuse("its parent was consumed by another segment");
  if (spec.tokens.empty() && (!spec.read.empty() || spec.next)) {
    refuse("nothing to read after no tokens");
  }
  if (spec.next && !writes) {
    refuse("the next token is wanted of a model that was exported without rationale");
  }
  const auto check_ids = [&](const std::vector<int32_t>& ids, const char* what) {
    for (const int32_t id : ids) {
      if (id < 0 || id >= config.vocabulary) {
        refuse(std::string(what) + " id " + std::to_string(id) + " is not below " +
               std::to_string(config.vocabulary));
      }
    }
  };
  check_ids(spec.tokens, "token");
  check_ids(spec.read, "output row");
}

}  // namespace stepguard
