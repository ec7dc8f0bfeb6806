#include "saving.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <stdexcept>
#include <vector>

namespace stepguard {
namespace {

struct Header {
  char magic[8] = {'s', 'g', 's', 't', 'a', 't', 'e', '1'};
  int64_t length, page_bytes, layers, conv_bytes, delta_bytes, delta_layers;
};

Header header_of(const Shelves& shelves, int64_t length) {
  Header header;
  header.length = length;
  header.page_bytes = shelves.shape.page_bytes();
  header.layers = shelves.layers;
  header.conv_bytes = shelves.conv_bytes;
  header.delta_bytes = shelves.delta_bytes;
  header.delta_layers = shelves.delta_layers;
  return header;
}

int64_t page_count(int64_t length) { return (length + kPage - 1) / kPage; }

size_t size_of(const Header& header) {
  const int64_t pages = page_count(header.length) * header.layers * header.page_bytes;
  const int64_t slot = header.delta_layers * (header.conv_bytes + header.delta_bytes);
  return sizeof(Header) + static_cast<size_t>(pages + (header.length > 0 ? slot : 0));
}

// Calls `move(arena, layer, offset, bytes)` for every part of a slot, in the order of the file.
template <class Move>
void each_part(const Shelves& shelves, int32_t slot, const Move& move) {
  for (int64_t layer = 0; layer < shelves.delta_layers; ++layer) {
    move(shelves.conv, layer, slot * shelves.conv_bytes, shelves.conv_bytes);
    move(shelves.delta, layer, slot * shelves.delta_bytes, shelves.delta_bytes);
  }
}

}  // namespace

std::string save_state(const Shelves& shelves, const State& state) {
  const Header header = header_of(shelves, state.length());
  std::string bytes(size_of(header), '\0');
  std::memcpy(bytes.data(), &header, sizeof header);
  char* to = bytes.data() + sizeof header;
  std::vector<uint8_t> page(static_cast<size_t>(header.page_bytes));
  for (int64_t i = 0; i < page_count(header.length); ++i) {
    const int64_t tokens = std::min<int64_t>(header.length - i * kPage, kPage);
    const int64_t offset = state.pages()[static_cast<size_t>(i)] * header.page_bytes;
    for (int64_t layer = 0; layer < header.layers; ++layer, to += header.page_bytes) {
      const uint8_t* from = shelves.pages.look(layer, offset, header.page_bytes, page.data());
      shelves.table.copy_page(shelves.shape, from, to, tokens);
    }
  }
  if (state.slot() < 0) return bytes;
  each_part(shelves, state.slot(),
            [&](const Arena& arena, int64_t layer, int64_t offset, int64_t size) {
              auto* target = reinterpret_cast<uint8_t*>(to);
              const uint8_t* from = arena.look(layer, offset, size, target);
              if (from != target) std::memcpy(target, from, static_cast<size_t>(size));
              to += size;
            });
  return bytes;
}

StatePtr restore_state(const Shelves& shelves, const std::shared_ptr<PagePool>& pages,
                       const std::shared_ptr<PagePool>& slots, const std::string& bytes) {
  Header header;
  if (bytes.size() < sizeof header) throw std::invalid_argument("a saved State: it is truncated");
  std::memcpy(&header, bytes.data(), sizeof header);
  const int64_t length = header.length;
  if (length < 0 || length > shelves.context) {
    throw std::invalid_argument("a saved State: its length does not fit this model");
  }
  const Header expected = header_of(shelves, length);
  if (std::memcmp(&header, &expected, sizeof header) != 0 || bytes.size() != size_of(expected)) {
    throw std::invalid_argument("a saved State: it is of another model or KV type");
  }
  std::vector<int32_t> numbers;
  numbers.reserve(static_cast<size_t>(page_count(length)));
  int32_t slot = -1;
  const auto give_up = [&] {
    for (const int32_t page : numbers) pages->release(page);
    throw std::bad_alloc();
  };
  for (int64_t i = 0; i < page_count(length); ++i) {
    const int32_t page = pages->allocate();
    if (page < 0) give_up();
    pages->set_mark(page, static_cast<int32_t>(std::min<int64_t>(length - i * kPage, kPage)));
    numbers.push_back(page);
  }
  if (slots && length > 0) slot = slots->allocate();
  if (slots && length > 0 && slot < 0) give_up();
  // From here on the State holds them: a GPU may refuse what is written.
  const auto state = std::make_shared<const State>(pages, std::move(numbers), length, slots, slot);
  const char* from = bytes.data() + sizeof header;
  for (const int32_t page : state->pages()) {
    for (int64_t layer = 0; layer < header.layers; ++layer, from += header.page_bytes) {
      shelves.pages.write(layer, page * header.page_bytes, from, header.page_bytes);
    }
  }
  if (slot >= 0) {
    each_part(shelves, slot, [&](const Arena& arena, int64_t layer, int64_t offset, int64_t size) {
      arena.write(layer, offset, from, size);
      from += size;
    });
  }
  return state;
}

}  // namespace stepguard
