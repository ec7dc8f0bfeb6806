#include "bindings.h"
#include "error.h"

namespace stepguard {
namespace {

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
  const py::object instance =
      type(to_text(error.where), py::arg("expected") = to_text(error.expected),
           py::arg("got") = to_text(error.got), py::arg("fix") = to_text(error.fix));
  PyErr_SetObject(type.ptr(), instance.ptr());
}

}  // namespace

py::str to_text(const std::string& text) {
  PyObject* decoded =
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace");
  if (decoded == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::str>(decoded);
}

void bind_errors(py::module_&) {
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const Error& error) {
      raise(error);
    }
  });
}

}  // namespace stepguard
