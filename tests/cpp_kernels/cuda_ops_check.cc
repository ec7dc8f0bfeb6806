// Every operation of a library of GPU kernels against the reference, and the bitwise law, on the
// GPU of this machine and without ONNX Runtime:
//
//   cuda_ops_check build/cuda/cpp_kernels/cuda/libstepguard_cuda.so
//
// Exit status 0 when all is well, 1 when something differs, 2 when no GPU can be used.
#include <cstdio>

#include "device_table.h"
#include "tested_tables.h"

int main(int argc, char** argv) {
  using namespace stepguard;
  if (argc != 2) {
    std::fprintf(stderr, "usage: cuda_ops_check LIBRARY\n");
    return 2;
  }
  std::string problem;
  const cuda::Table* library = open_cuda(argv[1], problem);
  if (library == nullptr) {
    std::fprintf(stderr, "%s: %s\n", argv[1], problem.c_str());
    return 2;
  }
  std::printf("%s\n", library->describe());
  const Tables tables = {device_table(*library, "cuda"), find_table("generic")};
  const int failures = run_table_tests(tables) + run_delta_tests(tables) +
                       run_law_tests({tables[0]}) + run_device_tests(*library);
  std::printf("%d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
