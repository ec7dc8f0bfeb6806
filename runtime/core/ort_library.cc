#include "ort_library.h"

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>

#include "error.h"

namespace stepguard {
namespace {

constexpr int kOldestMinor = 24, kNewestMinor = 32;
constexpr const char* kInstall =
    "Install one of: pip install 'stepguard[cpu]', pip install 'stepguard[gpu]'";

[[noreturn]] void refuse(const std::string& path, const std::string& expected,
                         const std::string& got) {
  throw Error(ErrorKind::kRuntimeMissing, "ONNX Runtime library " + path, expected, got, kInstall);
}

// The only switch that keeps ONNX Runtime 1.29 and later from uploading: this variable, set while
// the environment is made. It may go afterwards, since the library keeps the choice.
class TelemetryOff {
 public:
  TelemetryOff() {
    const char* value = std::getenv(kName);
    if (value != nullptr) previous_ = std::make_unique<std::string>(value);
    setenv(kName, "1", 1);
  }
  ~TelemetryOff() {
    if (previous_) {
      setenv(kName, previous_->c_str(), 1);
    } else {
      unsetenv(kName);
    }
  }
  TelemetryOff(const TelemetryOff&) = delete;
  TelemetryOff& operator=(const TelemetryOff&) = delete;

 private:
  static constexpr const char* kName = "ORT_DISABLE_TELEMETRY";
  std::unique_ptr<std::string> previous_;
};

void check_version(const OrtLibrary& library) {
  int major = 0, minor = 0;
  if (std::sscanf(library.version.c_str(), "%d.%d", &major, &minor) != 2 || major != 1 ||
      minor < kOldestMinor || minor > kNewestMinor) {
    refuse(library.path, "version 1.24 to 1.32", library.version);
  }
}

// A status made and read back through four declared slots, and the build string through the last:
// a table that is not the declared one does not survive this.
void check_table(const OrtLibrary& library) {
  const OrtFunctions& ort = library.functions;
  OrtStatus* status = ort.CreateStatus(ORT_INVALID_ARGUMENT, "stepguard round trip");
  const bool same = status != nullptr && ort.GetErrorCode(status) == ORT_INVALID_ARGUMENT &&
                    std::strcmp(ort.GetErrorMessage(status), "stepguard round trip") == 0;
  if (status != nullptr) ort.ReleaseStatus(status);
  if (!same) refuse(library.path, "the function table of API version 21", "another table");
  if (library.build_info.find("ORT Build Info") == std::string::npos) {
    refuse(library.path, "a build string", "'" + library.build_info + "'");
  }
}

std::unique_ptr<OrtLibrary> load(const std::string& path) {
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) refuse(path, "a library that can be opened", dlerror());
  using GetBase = const OrtApiBase* (*)();
  const auto get_base = reinterpret_cast<GetBase>(dlsym(handle, "OrtGetApiBase"));
  if (get_base == nullptr) refuse(path, "the symbol OrtGetApiBase", "a library without it");
  const OrtApiBase* base = get_base();
  auto library = std::make_unique<OrtLibrary>();
  library->path = path;
  library->version = base->GetVersionString();
  check_version(*library);
  const void* const* table = base->GetApi(kOrtApiVersion);
  if (table == nullptr) refuse(path, "API version 21", "an older library");
  library->functions.fill(table);
  library->build_info = library->functions.GetBuildInfoString();
  check_table(*library);
  const TelemetryOff telemetry_off;
  OrtStatus* status =
      library->functions.CreateEnv(ORT_LOGGING_LEVEL_FATAL, "stepguard", &library->environment);
  if (status != nullptr) {
    const std::string text = library->functions.GetErrorMessage(status);
    library->functions.ReleaseStatus(status);
    refuse(path, "an environment", text);
  }
  return library;
}

}  // namespace

const OrtLibrary& open_ort_library(const std::string& path) {
  static std::mutex mutex;
  // Leaked on purpose: sessions of other threads may outlive static destruction.
  static auto* libraries = new std::map<std::string, std::unique_ptr<OrtLibrary>>();
  const std::lock_guard<std::mutex> lock(mutex);
  std::unique_ptr<OrtLibrary>& library = (*libraries)[path];
  if (!library) library = load(path);
  return *library;
}

bool library_is_loaded(const std::string& path) {
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_NOLOAD);
  if (handle == nullptr) return false;
  dlclose(handle);
  return true;
}

}  // namespace stepguard
