#include "bindings.h"

#include "kernels.h"

namespace stepguard {

PYBIND11_MODULE(_core, module) {
  module.doc() = "The compiled core of stepguard: engine, states and kernel tables.";
  bind_errors(module);
  bind_results(module);
  bind_engine(module);
  bind_screen(module);
  bind_machine(module);
  bind_measures(module);
  module.attr("PAGE_TOKENS") = kPage;
}

}  // namespace stepguard
