#include "bindings.h"
#include "cuda_peak.h"
#include "op_bench.h"
#include "peaks.h"

namespace stepguard {

void bind_measures(py::module_& module) {
  module.def("measure_cuda_bandwidth", &measure_cuda_bandwidth, py::arg("path"), py::arg("bytes"),
             py::call_guard<py::gil_scoped_release>());
  module.def("measure_peaks", &measure_peaks, py::arg("threads"),
             py::call_guard<py::gil_scoped_release>());
  module.def(
      "measure_op",
      [](const std::string& op, const OpSizes& sizes, const std::vector<std::string>& tables,
         int threads, double seconds, double allowed) {
        const OpReport report = [&] {
          const py::gil_scoped_release release;
          return measure_op(op, sizes, tables, threads, seconds, allowed);
        }();
        std::vector<std::tuple<std::string, double, double>> runs;
        for (const OpRun& run : report.runs) runs.emplace_back(run.table, run.error, run.seconds);
        return std::make_tuple(report.arithmetic, report.bytes, report.operations, runs);
      },
      py::arg("op"), py::arg("sizes"), py::arg("tables"), py::arg("threads"), py::arg("seconds"),
      py::arg("allowed"));
}

}  // namespace stepguard
