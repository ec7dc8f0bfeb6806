// What libFuzzer does, in small, for compilers without it: mutates inputs, keeps those that reach
// new places in the code, and leaves the input behind that ended the process.
//
//   ops_fuzz CORPUS FINDINGS SECONDS SEED     fuzzes
//   ops_fuzz FILE                             runs one input again
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

using Bytes = std::vector<uint8_t>;
namespace fs = std::filesystem;

constexpr size_t kMost = 256;       // bytes of an input: few that a recipe does not read
constexpr unsigned kPatience = 20;  // seconds of one input

uint8_t seen[1 << 16], now[1 << 16];  // places in the code, by a hash of their address

Bytes read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(file), {});
}

class Fuzzer {
 public:
  Fuzzer(fs::path corpus, const fs::path& findings, uint64_t seed)
      : folder_(std::move(corpus)), current_(findings / "crash-current"), random_(seed) {
    file_ = open(current_.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0644);
    if (file_ < 0) throw std::runtime_error("cannot write " + current_.string());
    std::vector<fs::path> paths;
    for (const auto& entry : fs::directory_iterator(folder_)) paths.push_back(entry.path());
    std::sort(paths.begin(), paths.end());
    for (const fs::path& path : paths) try_one(read(path), false);
    try_one(Bytes(kMost, 0), true);
  }
  ~Fuzzer() {
    close(file_);
    unlink(current_.c_str());
  }
  Fuzzer(const Fuzzer&) = delete;
  Fuzzer& operator=(const Fuzzer&) = delete;

  void run(double seconds) {
    const auto begin = std::chrono::steady_clock::now();
    std::chrono::duration<double> took{};
    for (; took.count() < seconds; took = std::chrono::steady_clock::now() - begin) {
      for (int i = 0; i < 64; ++i) try_one(mutated(), true);
    }
    std::printf("corpus: %zu\nstat::number_of_executed_units: %llu\n", corpus_.size(),
                static_cast<unsigned long long>(count_));
  }

 private:
  size_t below(size_t count) { return random_() % count; }

  Bytes mutated() {
    Bytes data = corpus_[below(corpus_.size())];
    for (size_t i = 1 + below(4); i > 0; --i) {
      const size_t at = below(size_t{32} << below(4));  // most recipes are short
      switch (below(6)) {
        case 0:
          data[at] = static_cast<uint8_t>(random_());
          break;
        case 1:
          data[at] ^= static_cast<uint8_t>(1U << below(8));
          break;
        case 2:
          data[at] = static_cast<uint8_t>(240 + below(16));  // a fault, as recipes understand it
          break;
        case 3:
          data.erase(data.begin() + static_cast<std::ptrdiff_t>(at));
          data.push_back(0);
          break;
        case 4:
          data.insert(data.begin() + static_cast<std::ptrdiff_t>(at),
                      static_cast<uint8_t>(random_()));
          break;
        default:
          for (size_t j = at; j < std::min(data.size(), at + 1 + below(32)); ++j) {
            data[j] = static_cast<uint8_t>(random_() % (below(4) == 0 ? 256 : 240));
          }
      }
    }
    data.resize(kMost);
    return data;
  }

  void try_one(Bytes data, bool save) {
    data.resize(kMost);
    // Written first: whatever ends the process leaves it behind.
    if (pwrite(file_, data.data(), data.size(), 0) != static_cast<ssize_t>(data.size())) abort();
    alarm(kPatience);
    std::fill(std::begin(now), std::end(now), uint8_t{0});
    LLVMFuzzerTestOneInput(data.data(), data.size());
    alarm(0);
    ++count_;
    bool fresh = corpus_.empty();
    for (size_t i = 0; i < sizeof now; ++i) {
      if ((now[i] & ~seen[i]) == 0) continue;
      seen[i] |= now[i];
      fresh = true;
    }
    if (!fresh) return;
    if (save) {
      const fs::path path =
          folder_ / ("new-" + std::to_string(getpid()) + "-" + std::to_string(count_));
      std::ofstream(path, std::ios::binary)
          .write(reinterpret_cast<const char*>(data.data()),
                 static_cast<std::streamsize>(data.size()));
    }
    corpus_.push_back(std::move(data));
  }

  fs::path folder_, current_;
  std::mt19937_64 random_;
  int file_ = -1;
  std::vector<Bytes> corpus_;
  uint64_t count_ = 0;
};

}  // namespace

// Called by the compiler's instrumentation at every edge of the code under test, also in a shared
// library of it.
extern "C" __attribute__((visibility("default"))) void __sanitizer_cov_trace_pc() {
  const auto address = reinterpret_cast<uintptr_t>(__builtin_return_address(0));
  now[(address ^ (address >> 16)) & 0xFFFF] = 1;
}

int main(int count, char** words) {
  if (count == 2) {
    const Bytes data = read(words[1]);
    LLVMFuzzerTestOneInput(data.data(), data.size());
    std::printf("nothing found\n");
    return 0;
  }
  if (count != 5) {
    std::printf("ops_fuzz CORPUS FINDINGS SECONDS SEED, or ops_fuzz FILE\n");
    return 2;
  }
  Fuzzer(words[1], words[2], std::stoull(words[4])).run(std::stod(words[3]));
  return 0;
}
