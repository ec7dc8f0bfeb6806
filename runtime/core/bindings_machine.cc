#include "bindings.h"
#include "cuda_library.h"
#include "kernels.h"
#include "ort_library.h"

namespace stepguard {

void bind_machine(py::module_& module) {
  module.def("isa_tables", [] {
    size_t count = 0;
    const KernelTable* const* tables = available_tables(&count);
    std::vector<std::pair<std::string, std::string>> result;
    for (size_t i = 0; i < count; ++i) result.emplace_back(tables[i]->name, tables[i]->description);
    return result;
  });
  module.def(
      "multiplies_bfloat16",
      [](const std::string& name) {
        const KernelTable* table = find_table(name.c_str());
        return table != nullptr && table->multiplies_bfloat16;
      },
      py::arg("name"));
  module.def(
      "isa_problem",
      [](const std::string& name) {
        return find_table(name.c_str()) != nullptr ? std::string()
                                                   : std::string(table_problem(name.c_str()));
      },
      py::arg("name"));
  module.def(
      "ort_library",
      [](const std::string& path) {
        const OrtLibrary& library = open_ort_library(path);
        return std::make_pair(library.version, library.build_info);
      },
      py::arg("path"));
  module.def(
      "cuda_device",
      [](const std::string& path) {
        const py::gil_scoped_release release;  // the driver may take seconds to start
        const cuda::Table& library = open_cuda_library(path);
        size_t free = 0, total = 0;
        if (const cuda::Problem problem = library.memory(&free, &total); problem != nullptr) {
          throw std::runtime_error(problem);
        }
        return std::make_pair(std::string(library.describe()), free);
      },
      py::arg("path"));
  module.def("is_loaded", &library_is_loaded, py::arg("path"));
}

}  // namespace stepguard
