// The threads of an operation that has none.
#pragma once

#include "ort/context.h"

namespace stepguard {

class Serial final : public Parallel {
 public:
  int threads() const override { return 1; }

 protected:
  void run(int64_t count, int64_t, Function function, void* context) override {
    if (count > 0) function(context, 0, count);
  }
};

}  // namespace stepguard
