// The compiled module stepguard.runtime._core: the only file that knows pybind11.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "engine.h"
#include "error.h"
#include "kernels.h"
#include "ort_library.h"

namespace py = pybind11;

namespace stepguard {
namespace {

using Ids = py::array_t<int32_t, py::array::c_style>;
// tokens, parent (State or index), keep, consume, output rows to read
using SegmentTuple = std::tuple<Ids, std::variant<std::shared_ptr<State>, int>, bool, bool, Ids>;

std::vector<int32_t> to_vector(const Ids& ids) {
  if (ids.ndim() != 1) throw py::value_error("expected a one-dimensional array of int32");
  return std::vector<int32_t>(ids.data(), ids.data() + ids.size());
}

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

const char* error_name(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kRuntimeMissing:
      return "RuntimeMissingError";
    case ErrorKind::kEngineClosed:
      return "EngineClosed";
    case ErrorKind::kForked:
      return "ForkedProcessError";
    case ErrorKind::kModelFormat:
      break;
  }
  return "ModelFormatError";
}

void raise(const Error& error) {
  const py::object type = py::module_::import("stepguard.errors").attr(error_name(error.kind));
  const py::object instance = type(error.where, py::arg("expected") = error.expected,
                                   py::arg("got") = error.got, py::arg("fix") = error.fix);
  PyErr_SetObject(type.ptr(), instance.ptr());
}

JobPtr submit(Engine& engine, std::vector<SegmentTuple> segments, double seconds) {
  const auto deadline = seconds < 0 || seconds > 1e9
                            ? Clock::time_point::max()
                            : Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                                 std::chrono::duration<double>(seconds));
  std::vector<SegmentSpec> specs;
  specs.reserve(segments.size());
  for (auto& [tokens, parent, keep, consume, read] : segments) {
    SegmentSpec spec;
    spec.tokens = to_vector(tokens);
    spec.keep = keep || consume;
    spec.consume = consume;
    spec.read = to_vector(read);
    if (const int* index = std::get_if<int>(&parent)) {
      spec.parent_index = *index;
    } else {
      spec.parent = std::get<std::shared_ptr<State>>(std::move(parent));
    }
    specs.push_back(std::move(spec));
  }
  const py::gil_scoped_release release;
  return engine.submit(std::move(specs), deadline);
}

// Joining threads may take as long as an operation; other Python threads go on meanwhile.
struct DeleteWithoutGil {
  void operator()(Engine* engine) const {
    const py::gil_scoped_release release;
    delete engine;
  }
};

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
      .def_property_readonly("reason",
                             [](const SegmentResult& result) { return reason_name(result.reason); })
      .def_readonly("message", &SegmentResult::message);

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

void bind_engine(py::module_& module) {
  py::class_<Engine, std::unique_ptr<Engine, DeleteWithoutGil>>(module, "Engine")
      .def(py::init([](const std::string& model_path, const std::string& ort_path,
                       const std::string& isa, int threads, bool kv_half, int64_t memory,
                       int64_t chunk, int64_t layers, int64_t kv_heads, int64_t head_dim,
                       int64_t delta_layers, int64_t conv_floats, int64_t delta_floats,
                       int64_t vocabulary, int64_t context, double budget,
                       std::vector<std::string> watched) {
             EngineConfig config{
                 model_path,   ort_path,   isa,      threads,  kv_half,           memory,
                 chunk,        layers,     kv_heads, head_dim, delta_layers,      conv_floats,
                 delta_floats, vocabulary, context,  budget,   std::move(watched)};
             // Under the GIL: the first call changes the environment, which Python code reads.
             open_ort_library(config.ort_path);
             const py::gil_scoped_release release;
             return std::unique_ptr<Engine, DeleteWithoutGil>(new Engine(config));
           }),
           py::kw_only(), py::arg("model_path"), py::arg("ort_path"), py::arg("isa"),
           py::arg("threads"), py::arg("kv_half"), py::arg("memory"), py::arg("chunk"),
           py::arg("layers"), py::arg("kv_heads"), py::arg("head_dim"), py::arg("delta_layers"),
           py::arg("conv_floats"), py::arg("delta_floats"), py::arg("vocabulary"),
           py::arg("context"), py::arg("budget"), py::arg("watched"))
      .def("submit", &submit, py::arg("segments"), py::arg("seconds"))
      .def(
          "save",
          [](const Engine& engine, const std::shared_ptr<State>& state) {
            std::string bytes;
            {
              const py::gil_scoped_release release;
              bytes = engine.save(state);
            }
            return py::bytes(bytes);
          },
          py::arg("state"))
      .def(
          "restore",
          [](Engine& engine, const std::string& bytes) {
            const py::gil_scoped_release release;
            return std::const_pointer_cast<State>(engine.restore(bytes));
          },
          py::arg("data"))
      .def_property_readonly(
          "root",
          [](const Engine& engine) { return std::const_pointer_cast<State>(engine.root()); })
      .def_property_readonly("isa", &Engine::isa)
      .def_property_readonly("threads", &Engine::threads)
      .def_property_readonly("ort_version", &Engine::ort_version)
      .def("stats",
           [](const Engine& engine) {
             const EngineStats stats = engine.stats();
             py::dict result;
             result["tokens"] = stats.tokens;
             result["forwards"] = stats.forwards;
             result["tokens_copied"] = stats.copied_tokens;
             result["pages_used"] = stats.pages_used;
             result["pages_total"] = stats.pages_total;
             result["slots_used"] = stats.slots_used;
             result["slots_total"] = stats.slots_total;
             result["busy_seconds"] = stats.busy_seconds;
             result["memory_used"] = stats.memory_used;
             result["memory_total"] = stats.memory_total;
             result["forward_tokens"] = stats.forward_tokens;
             return result;
           })
      .def("close", &Engine::close, py::call_guard<py::gil_scoped_release>());
}

}  // namespace

PYBIND11_MODULE(_core, module) {
  module.doc() = "The compiled core of stepguard: engine, states and kernel tables.";
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const Error& error) {
      raise(error);
    }
  });
  bind_results(module);
  bind_engine(module);
  module.def("isa_tables", [] {
    size_t count = 0;
    const KernelTable* const* tables = available_tables(&count);
    std::vector<std::pair<std::string, std::string>> result;
    for (size_t i = 0; i < count; ++i) result.emplace_back(tables[i]->name, tables[i]->description);
    return result;
  });
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
  module.def("is_loaded", &library_is_loaded, py::arg("path"));
  module.attr("PAGE_TOKENS") = kPage;
}

}  // namespace stepguard
