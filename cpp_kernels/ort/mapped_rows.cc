#include "mapped_rows.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

namespace stepguard {
namespace {

// What one fault maps at most: usually 64 KiB, but all of a large page of the cache.
constexpr uintptr_t kAround = 2 << 20;

using Range = std::pair<uintptr_t, uintptr_t>;

// Of the range the whole pages inside the table: what lies beside it belongs to others.
void advise(Range range, const Range& table, int advice) {
  static const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  range.first = std::max(range.first, (table.first + page - 1) & ~(page - 1));
  range.second = std::min(range.second, table.second & ~(page - 1));
  // Advice that is not taken costs memory, nothing else.
  if (range.first < range.second) {
    madvise(reinterpret_cast<void*>(range.first), range.second - range.first, advice);
  }
}

}  // namespace

bool is_file_mapping(const void* data, size_t bytes) {
  std::FILE* maps = std::fopen("/proc/self/maps", "re");
  if (maps == nullptr) return false;
  auto at = reinterpret_cast<uintptr_t>(data);
  const uintptr_t end = at + bytes;
  char line[8192];
  bool fresh = true;  // `line` begins where a line of the file does
  while (at < end && std::fgets(line, sizeof line, maps) != nullptr) {
    uintptr_t first = 0, last = 0;
    uint64_t inode = 0;
    const bool parsed = fresh && std::sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %*s %*s %*s %" SCNu64,
                                             &first, &last, &inode) == 3;
    if (parsed && first <= at && at < last && inode != 0) at = last;
    fresh = std::strchr(line, '\n') != nullptr;
  }
  std::fclose(maps);
  return at >= end;
}

void MappedRows::release(const void* data, int64_t rows, int64_t row_bytes, const int32_t* ids,
                         int64_t count) {
  const auto base = reinterpret_cast<uintptr_t>(data);
  const Range table{base, base + static_cast<uintptr_t>(rows * row_bytes)};
  if (data != seen_) {
    seen_ = data;
    in_file_ = is_file_mapping(data, table.second - table.first);
    if (in_file_) advise(table, table, MADV_RANDOM);
  }
  if (!in_file_) return;
  std::vector<Range> around;
  around.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    const uintptr_t row = base + static_cast<uintptr_t>(ids[i] * row_bytes);
    const uintptr_t end = row + static_cast<uintptr_t>(row_bytes);
    around.emplace_back(row & ~(kAround - 1), (end + kAround - 1) & ~(kAround - 1));
  }
  std::sort(around.begin(), around.end());
  Range joined{0, 0};
  for (const Range& range : around) {
    if (range.first > joined.second) {
      advise(joined, table, MADV_DONTNEED);
      joined = range;
    }
    joined.second = std::max(joined.second, range.second);
  }
  advise(joined, table, MADV_DONTNEED);
}

}  // namespace stepguard
