// Rows of a mapped table leave memory after use, their bytes stay, and other memory is left alone.
#include "ort/mapped_rows.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "expect.h"

namespace {

using stepguard::is_file_mapping;
using stepguard::MappedRows;

constexpr int64_t kRows = 4096, kRowBytes = 1000;  // a row crosses pages, 4 MB in all
constexpr size_t kBytes = kRows * kRowBytes;

uint8_t byte_at(size_t i) { return static_cast<uint8_t>(i * 31 % 251); }

// A private mapping of a file that nobody else sees, as ONNX Runtime maps weights.
struct MappedFile {
  MappedFile() {
    std::FILE* file = std::tmpfile();
    std::vector<uint8_t> content(kBytes);
    for (size_t i = 0; i < kBytes; ++i) content[i] = byte_at(i);
    std::fwrite(content.data(), 1, kBytes, file);
    std::fflush(file);
    void* at = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, fileno(file), 0);
    if (at == MAP_FAILED) std::abort();
    data = static_cast<uint8_t*>(at);
    std::fclose(file);
  }
  ~MappedFile() { munmap(data, kBytes); }
  uint8_t* data;
};

// Reads rows and says whether they hold what was written.
bool read_rows(const uint8_t* data, const std::vector<int32_t>& ids) {
  for (const int32_t id : ids) {
    const size_t from = static_cast<size_t>(id * kRowBytes);
    for (size_t i = from; i < from + kRowBytes; ++i) {
      if (data[i] != byte_at(i)) return false;
    }
  }
  return true;
}

// Pages of the range that this process has mapped; -1 where the system does not tell.
int64_t mapped_pages(const uint8_t* data) {
  std::FILE* pagemap = std::fopen("/proc/self/pagemap", "rb");
  if (pagemap == nullptr) return -1;
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t first = reinterpret_cast<uintptr_t>(data) / page;
  std::vector<uint64_t> entries(kBytes / page);
  std::fseek(pagemap, static_cast<long>(first * sizeof(uint64_t)), SEEK_SET);
  const size_t read = std::fread(entries.data(), sizeof(uint64_t), entries.size(), pagemap);
  std::fclose(pagemap);
  int64_t count = 0;
  for (size_t i = 0; i < read; ++i) count += static_cast<int64_t>(entries[i] >> 63);
  return count;
}

void test_rows_leave_and_stay_what_they_are() {
  const MappedFile file;
  const std::vector<int32_t> ids = {4000, 100, 2222, 101, 100, 3000, 1500};
  MappedRows rows;
  for (int turn = 0; turn < 3; ++turn) {
    EXPECT_TRUE(read_rows(file.data, ids));
    if (mapped_pages(file.data) < 0) return;
    EXPECT_TRUE(mapped_pages(file.data) >= 7);
    rows.release(file.data, kRows, kRowBytes, ids.data(), static_cast<int64_t>(ids.size()));
    EXPECT_TRUE(mapped_pages(file.data) == 0);
  }
  rows.release(file.data, kRows, kRowBytes, nullptr, 0);
  EXPECT_TRUE(read_rows(file.data, {0, 1, 4094, 4095}));
  const int32_t edges[] = {0, 4095};
  rows.release(file.data, kRows, kRowBytes, edges, 2);
  EXPECT_TRUE(read_rows(file.data, {0, 4095}));
}

void test_rows_that_are_not_named_stay() {
  const MappedFile file;
  EXPECT_TRUE(read_rows(file.data, {500, 3500}));
  const int64_t before = mapped_pages(file.data);
  MappedRows rows;
  const int32_t id = 500;
  rows.release(file.data, kRows, kRowBytes, &id, 1);
  EXPECT_TRUE(before < 0 || (mapped_pages(file.data) > 0 && mapped_pages(file.data) < before));
}

void test_memory_of_no_file_is_left_alone() {
  void* at = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  auto* data = static_cast<uint8_t*>(at);
  for (size_t i = 0; i < kBytes; ++i) data[i] = byte_at(i);
  MappedRows rows;
  const std::vector<int32_t> ids = {0, 100, 2000, 4095};
  rows.release(data, kRows, kRowBytes, ids.data(), 4);
  EXPECT_TRUE(read_rows(data, ids));
  munmap(data, kBytes);
}

void test_what_is_mapped_from_a_file() {
  const MappedFile file;
  std::vector<uint8_t> heap(1 << 20);
  EXPECT_TRUE(is_file_mapping(file.data, kBytes));
  EXPECT_TRUE(is_file_mapping(file.data + 5000, 100000));
  EXPECT_TRUE(!is_file_mapping(heap.data(), heap.size()));
  // A hole behind the file: half of the range is no file's.
  void* room = mmap(nullptr, 2 * kBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  auto* start = static_cast<uint8_t*>(room);
  void* moved = mremap(file.data, kBytes, kBytes, MREMAP_MAYMOVE | MREMAP_FIXED, start);
  EXPECT_TRUE(moved == start);
  EXPECT_TRUE(is_file_mapping(start, kBytes / 4096 * 4096));
  EXPECT_TRUE(!is_file_mapping(start, 2 * kBytes));
  EXPECT_TRUE(mremap(start, kBytes, kBytes, MREMAP_MAYMOVE | MREMAP_FIXED, file.data) == file.data);
  munmap(start, 2 * kBytes);
}

}  // namespace

int main() {
  test_rows_leave_and_stay_what_they_are();
  test_rows_that_are_not_named_stay();
  test_memory_of_no_file_is_left_alone();
  test_what_is_mapped_from_a_file();
  return failures() == 0 ? 0 : 1;
}
