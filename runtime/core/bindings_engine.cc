#include "bindings.h"
#include "engine.h"
#include "ort_library.h"

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

}  // namespace

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

}  // namespace stepguard
