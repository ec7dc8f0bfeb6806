// The parts of the compiled module stepguard.runtime._core, each of which adds what it binds. These
// are the only files that know pybind11; all of them see its conversions through this header.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>

namespace stepguard {

namespace py = pybind11;

void bind_errors(py::module_& module);    // the core's exceptions as those of stepguard.errors
void bind_results(py::module_& module);   // State, Result, Ticket
void bind_engine(py::module_& module);    // Engine; after the results
void bind_screen(py::module_& module);    // Screen
void bind_machine(py::module_& module);   // tables, libraries and devices of this machine
void bind_measures(py::module_& module);  // what the benchmarks measure

// Messages quote files of others: what is no UTF-8 must not hide the error behind another one.
py::str to_text(const std::string& text);

}  // namespace stepguard
