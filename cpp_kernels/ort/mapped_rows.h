// Rows of a table that lies in a mapped file, of which a forward needs few.
#pragma once

#include <cstddef>
#include <cstdint>

namespace stepguard {

// Keeps a table out of memory but for what is in use. The system would read ahead around every row,
// and map what its cache holds of the surroundings, whatever was advised: after some thousand
// tokens most of a table would count as this process's memory. So a table is marked for random
// access when it is first seen, and the surroundings of rows are unmapped after use. They stay in
// the system's cache, from where the next use maps them in a microsecond or two.
//
// Memory that is no file's is left alone: to unmap it would be to lose it.
class MappedRows {
 public:
  // `data` is a table of `rows` x `row_bytes`, of which the rows `ids` were read and are not needed
  // any more; every id is below `rows`.
  void release(const void* data, int64_t rows, int64_t row_bytes, const int32_t* ids,
               int64_t count);

 private:
  const void* seen_ = nullptr;
  bool in_file_ = false;
};

// True when a file is mapped at every byte of the range; false where the system does not tell.
bool is_file_mapping(const void* data, size_t bytes);

}  // namespace stepguard
