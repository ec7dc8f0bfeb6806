// Operations of GPUs that the CPU tables do not have, or not for many rows at once: against plain
// loops, and bit for bit against the same rows alone. The emulation also runs every test of the
// tables with blocks and threads in the opposite order.
#include "device_checks.h"
#include "device_operands.h"
#include "device_table.h"
#include "tested_tables.h"

namespace stepguard::device_tests {
namespace {

// Each word is read once, by whatever number of blocks.
void test_read_words(const cuda::Table& library) {
  using Words = std::vector<uint32_t>;
  for (const size_t count : {size_t{0}, size_t{4}, size_t{1024}, size_t{5260}}) {
    for (const size_t blocks : {size_t{1}, size_t{3}, size_t{40}}) {
      Words words(count), sums(blocks, 7);
      for (size_t i = 0; i < count; ++i) words[i] = static_cast<uint32_t>(i * 2654435761U);
      Operands operands(library);
      const uint32_t* from = operands.put(words);
      uint32_t* to = operands.in_out(sums);
      operands.finish(library.read_words(nullptr, from, static_cast<int64_t>(count),
                                         static_cast<int64_t>(blocks), to));
      uint32_t wanted = 0, got = 0;
      for (const uint32_t word : words) wanted += word;
      for (const uint32_t sum : sums) got += sum;
      check(got == wanted, "read_words " + std::to_string(count));
    }
  }
}

// A problem that is reported is better than a kernel that does not run.
void test_library(const cuda::Table& library) {
  check(library.version == cuda::kTableVersion, "version");
  check(library.problem() == nullptr, "no problem");
  check(library.describe()[0] != '\0', "a description");
  size_t free = 0, total = 0;
  must(library.memory(&free, &total));
  check(free > 0 && free <= total, "memory");
  Operands operands(library);
  Floats y = random_floats(9);
  float* device = operands.in_out(y);
  operands.finish(library.clear(nullptr, device + 2, 3 * sizeof(float)));
  check(y[1] != 0.0F && y[2] == 0.0F && y[4] == 0.0F && y[5] != 0.0F, "clear");
}

}  // namespace
}  // namespace stepguard::device_tests

namespace stepguard {

int run_device_tests(const cuda::Table& library) {
  using namespace device_tests;
  const bool emulated = &library == &emulated_cuda();
  for (const bool backwards : {false, true}) {
    if (backwards && !emulated) break;
    if (emulated) emulate_backwards(backwards);
    test_library(library);
    test_read_words(library);
    test_rows(library);
    test_tiles(library);
    test_attention(library);
  }
  if (emulated) {
    const Tables tables = {tested_table("cuda-emulated"), find_table("generic")};
    failures() += run_table_tests(tables) + run_delta_tests(tables);
    emulate_backwards(false);
  }
  return failures();
}

}  // namespace stepguard
