#include "cuda_library.h"

#include <dlfcn.h>

#include <map>
#include <mutex>

#include "error.h"

namespace stepguard {
namespace {

[[noreturn]] void refuse(const std::string& path, const std::string& expected,
                         const std::string& got, const std::string& fix) {
  throw Error(ErrorKind::kRuntimeMissing, "library of GPU kernels " + path, expected, got, fix);
}

const cuda::Table* load(const std::string& path) {
  constexpr const char* kBuild = "Install stepguard from a build with STEPGUARD_CUDA=ON.";
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) refuse(path, "a library that can be opened", dlerror(), kBuild);
  using Entry = const cuda::Table* (*)();
  const auto entry = reinterpret_cast<Entry>(dlsym(handle, cuda::kTableSymbol));
  if (entry == nullptr) {
    refuse(path, std::string("the symbol ") + cuda::kTableSymbol, "a library without it", kBuild);
  }
  const cuda::Table* table = entry();
  if (table->version != cuda::kTableVersion) {
    refuse(path, "version " + std::to_string(cuda::kTableVersion), std::to_string(table->version),
           kBuild);
  }
  if (const cuda::Problem problem = table->problem(); problem != nullptr) {
    refuse(path, "a GPU with its driver", problem,
           "Install NVIDIA's driver and run where there is a GPU, or leave out device='cuda'.");
  }
  return table;
}

}  // namespace

const cuda::Table& open_cuda_library(const std::string& path) {
  static std::mutex mutex;
  static auto* tables = new std::map<std::string, const cuda::Table*>();
  const std::lock_guard<std::mutex> lock(mutex);
  const cuda::Table*& table = (*tables)[path];
  if (table == nullptr) table = load(path);
  return *table;
}

}  // namespace stepguard
