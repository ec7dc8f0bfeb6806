#include "bindings.h"
#include "segment.h"

namespace stepguard {
namespace {

py::array_t<float> to_array(const std::vector<float>& values) {
  return py::array_t<float>(static_cast<py::ssize_t>(values.size()), values.data());
}

const char* reason_name(Reason reason) {
  switch (reason) {
    case Reason::kNone:
      return "";
    case Reason::kDeadline:
      return "deadline";
    case Reason::kMemory:
      return "memory";
    case Reason::kNumeric:
      return "numeric";
    case Reason::kClosing:
      return "closing";
    case Reason::kOverflow:
      return "overflow";
    case Reason::kInternal:
      break;
  }
  return "internal";
}

}  // namespace

void bind_results(py::module_& module) {
  py::class_<State, std::shared_ptr<State>>(module, "State")
      .def_property_readonly("length", &State::length);

  py::class_<SegmentResult>(module, "Result")
      .def_property_readonly(
          "state",
          [](const SegmentResult& result) { return std::const_pointer_cast<State>(result.state); })
      .def_property_readonly("logits",
                             [](const SegmentResult& result) { return to_array(result.logits); })
      .def_property_readonly("hidden",
                             [](const SegmentResult& result) { return to_array(result.hidden); })
      .def_property_readonly("next", [](const SegmentResult& result) { return result.next; })
      .def_property_readonly("next_score",
                             [](const SegmentResult& result) { return result.next_score; })
      .def_property_readonly("reason",
                             [](const SegmentResult& result) { return reason_name(result.reason); })
      .def_property_readonly("message",
                             [](const SegmentResult& result) { return to_text(result.message); });

  py::class_<Job, JobPtr>(module, "Ticket")
      .def(
          "wait",
          [](Job& job, double seconds) -> std::optional<std::vector<SegmentResult>> {
            {
              const py::gil_scoped_release release;
              if (!job.wait(seconds)) return std::nullopt;
            }
            return std::move(job.results);  // Python keeps them: a State must have one owner
          },
          py::arg("seconds"))
      .def("cancel", [](Job& job) { job.cancelled.store(true); });
}

}  // namespace stepguard
