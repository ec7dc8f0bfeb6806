#include "bindings.h"
#include "ort_library.h"
#include "screen.h"

namespace stepguard {
namespace {

using Rows = py::array_t<int64_t, py::array::c_style>;

py::array_t<float> run_screen(const Screen& screen, const Rows& ids, const Rows& mask) {
  if (ids.ndim() != 2 || mask.ndim() != 2 || ids.shape(0) != mask.shape(0) ||
      ids.shape(1) != mask.shape(1) || ids.size() == 0) {
    throw py::value_error("ids, mask: expected two int64 arrays of one shape [batch, length]");
  }
  int64_t labels = 0;
  const std::vector<float> logits = [&] {
    std::vector<int64_t> id_rows(ids.data(), ids.data() + ids.size());
    std::vector<int64_t> mask_rows(mask.data(), mask.data() + mask.size());
    const int64_t batch = ids.shape(0), length = ids.shape(1);
    const py::gil_scoped_release release;
    return screen.run(std::move(id_rows), std::move(mask_rows), batch, length, &labels);
  }();
  return py::array_t<float>({ids.shape(0), static_cast<py::ssize_t>(labels)}, logits.data());
}

}  // namespace

void bind_screen(py::module_& module) {
  py::class_<Screen>(module, "Screen")
      .def(py::init([](const std::string& model_path, const std::string& ort_path, int threads) {
             // Under the GIL: the first call changes the environment, which Python code reads.
             const OrtLibrary& library = open_ort_library(ort_path);
             const py::gil_scoped_release release;
             return std::make_unique<Screen>(library, model_path, threads);
           }),
           py::kw_only(), py::arg("model_path"), py::arg("ort_path"), py::arg("threads"))
      .def("run", &run_screen, py::arg("ids"), py::arg("mask"));
}

}  // namespace stepguard
