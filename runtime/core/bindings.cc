// The compiled module stepguard.runtime._core: the only file that knows pybind11.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "cuda_library.h"
#include "cuda_peak.h"
#include "engine.h"
#include "error.h"
#include "kernels.h"
#include "op_bench.h"
#include "ort_library.h"
#include "peaks.h"
#include "screen.h"

namespace py = pybind11;

namespace stepguard {
namespace {

using Ids = py::array_t<int32_t, py::array::c_style>;
// tokens, parent (State or index), keep, consume, output rows to read, whether the next token is
using SegmentTuple =
    std::tuple<Ids, std::variant<std::shared_ptr<State>, int>, bool, bool, Ids, bool>;

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

// Messages quote files of others: what is no UTF-8 must not hide the error behind another one.
py::str to_text(const std::string& text) {
  PyObject* decoded =
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace");
  if (decoded == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::str>(decoded);
}

void raise(const Error& error) {
  const py::object type = py::module_::import("stepguard.errors").attr(error_name(error.kind));
  const py::object instance =
      type(to_text(error.where), py::arg("expected") = to_text(error.expected),
           py::arg("got") = to_text(error.got), py::arg("fix") = to_text(error.fix));
  PyErr_SetObject(type.ptr(), instance.ptr());
}

JobPtr submit(Engine& engine, std::vector<SegmentTuple> segments, double seconds) {
  const auto deadline = seconds < 0 || seconds > 1e9
                            ? Clock::time_point::max()
                            : Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                                 std::chrono::duration<double>(seconds));
  std::vector<SegmentSpec> specs;
  specs.reserve(segments.size());
  for (auto& [tokens, parent, keep, consume, read, next] : segments) {
    SegmentSpec spec;
    spec.tokens = to_vector(tokens);
    spec.keep = keep || consume;
    spec.consume = consume;
    spec.read = to_vector(read);
    spec.next = next;
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

void bind_engine(py::module_& module) {
  py::class_<Engine, std::unique_ptr<Engine, DeleteWithoutGil>>(module, "Engine")
      .def(py::init([](const std::string& model_path, const std::string& ort_path,
                       const std::string& isa, int threads, bool kv_half, int32_t activations,
                       int64_t memory, int64_t row_bytes, int64_t chunk, int64_t layers,
                       int64_t kv_heads, int64_t head_dim, int64_t delta_layers,
                       int64_t conv_floats, int64_t delta_floats, int64_t vocabulary,
                       int64_t context, double budget, std::vector<std::string> watched,
                       const std::string& cuda_path, int64_t gpu_memory) {
             if (activations < 0 || activations > 2) {
               throw std::invalid_argument("activations: expected 0, 1 or 2, got " +
                                           std::to_string(activations));
             }
             EngineConfig config{model_path,
                                 ort_path,
                                 isa,
                                 threads,
                                 kv_half,
                                 static_cast<Activations>(activations),
                                 memory,
                                 row_bytes,
                                 chunk,
                                 layers,
                                 kv_heads,
                                 head_dim,
                                 delta_layers,
                                 conv_floats,
                                 delta_floats,
                                 vocabulary,
                                 context,
                                 budget,
                                 std::move(watched),
                                 cuda_path,
                                 gpu_memory};
             // Under the GIL: the first call changes the environment, which Python code reads.
             open_ort_library(config.ort_path);
             const py::gil_scoped_release release;
             return std::unique_ptr<Engine, DeleteWithoutGil>(new Engine(config));
           }),
           py::kw_only(), py::arg("model_path"), py::arg("ort_path"), py::arg("isa"),
           py::arg("threads"), py::arg("kv_half"), py::arg("activations"), py::arg("memory"),
           py::arg("row_bytes"), py::arg("chunk"), py::arg("layers"), py::arg("kv_heads"),
           py::arg("head_dim"), py::arg("delta_layers"), py::arg("conv_floats"),
           py::arg("delta_floats"), py::arg("vocabulary"), py::arg("context"), py::arg("budget"),
           py::arg("watched"), py::arg("cuda_path"), py::arg("gpu_memory"))
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
      .def_property_readonly("writes", &Engine::writes)
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
             result["memory_scratch"] = stats.memory_scratch;
             result["memory_total"] = stats.memory_total;
             result["forward_tokens"] = stats.forward_tokens;
             for (const auto& [op, seconds] : stats.op_seconds) {
               result[py::str("seconds_" + op)] = seconds;
             }
             return result;
           })
      .def("close", &Engine::close, py::call_guard<py::gil_scoped_release>());
}

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
  bind_screen(module);
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
  module.def("is_loaded", &library_is_loaded, py::arg("path"));
  module.attr("PAGE_TOKENS") = kPage;
}

}  // namespace stepguard
