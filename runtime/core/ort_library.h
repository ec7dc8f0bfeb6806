// ONNX Runtime, found and opened at run time: one shared library, one environment per process.
#pragma once

#include <string>

#include "ort/ort_abi.h"

namespace stepguard {

struct OrtLibrary {
  std::string path;
  std::string version;     // "1.32.0"
  std::string build_info;  // as the library states it
  OrtFunctions functions;
  OrtEnv* environment = nullptr;
};

// Opens the library at `path` (once; a second call with the same path gives the same object) and
// makes the environment with telemetry switched off. Never released: it lives as long as the
// process. Throws Error(kRuntimeMissing) when the file cannot be opened, its version is outside
// 1.24 to 1.32, or its function table is not the one that was declared.
const OrtLibrary& open_ort_library(const std::string& path);

// True when this very file is already loaded by something else in the process: whoever made the
// environment first decides on telemetry.
bool library_is_loaded(const std::string& path);

}  // namespace stepguard
