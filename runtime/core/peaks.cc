#include "peaks.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>

#include "kernels.h"
#include "thread_pool.h"

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace stepguard {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kBuffer = int64_t{256} << 20;
constexpr int64_t kPiece = int64_t{1} << 20;
constexpr int64_t kParts = 4;  // of the buffer, read in turn: the others push it out of the caches
// Many short runs: beside other programs some of them are left alone.
constexpr int kRuns = 16;
constexpr double kShortest = 0.01;  // seconds of a run

// A loop of one instruction: what an iteration does, and whether this CPU has it.
struct Loop {
  const char* name;
  double operations;
  bool (*available)();
  void (*run)(int64_t iterations);
};

double seconds_of(ThreadPool& pool, const Loop& loop, int64_t iterations) {
  const Clock::time_point started = Clock::now();
  pool.for_range(pool.threads(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) loop.run(iterations);
  });
  return std::chrono::duration<double>(Clock::now() - started).count();
}

double operations_a_second(ThreadPool& pool, const Loop& loop) {
  int64_t iterations = 1 << 15;
  while (seconds_of(pool, loop, iterations) < kShortest) iterations *= 2;
  double best = 1e30;
  for (int run = 0; run < kRuns; ++run) best = std::min(best, seconds_of(pool, loop, iterations));
  return loop.operations * static_cast<double>(iterations * pool.threads()) / best;
}

double bytes_a_second(ThreadPool& pool) {
  // Not zeros: pages that nobody wrote to are all the same one.
  const std::vector<uint64_t> buffer(static_cast<size_t>(kBuffer / 8), 1);
  std::atomic<uint64_t> sum{0};
  double best = 1e30;
  for (int run = 0; run < kRuns; ++run) {
    const Clock::time_point started = Clock::now();
    const uint64_t* part = buffer.data() + run % kParts * (kBuffer / kParts / 8);
    pool.for_range(kBuffer / kParts / kPiece, 1, [&](int64_t begin, int64_t end) {
      uint64_t own[8] = {};
      const uint64_t* at = part + begin * (kPiece / 8);
      for (int64_t i = 0; i < (end - begin) * (kPiece / 8); i += 8) {
        for (int lane = 0; lane < 8; ++lane) own[lane] += at[i + lane];
      }
      for (const uint64_t part : own) sum += part;
    });
    best = std::min(best, std::chrono::duration<double>(Clock::now() - started).count());
  }
  // The sum is used, so that the reading happens.
  return sum.load() == 0 ? 0.0 : static_cast<double>(kBuffer / kParts) / best;
}

// Twelve chains, enough for any latency times throughput. All registers are zero, which takes as
// long as other numbers. Assembly, because a compiler would see that nothing changes; only the
// lowest 16 registers, so that no flag is needed.
#define STEPGUARD_SIX(one) one(0) one(1) one(2) one(3) one(4) one(5)
#define STEPGUARD_TWELVE(one) STEPGUARD_SIX(one) one(6) one(7) one(8) one(9) one(10) one(11)

#if defined(__x86_64__)

#define STEPGUARD_LOOP(body)                                                                   \
  asm volatile("vzeroall\n\t.p2align 5\n1:\n\t" body "dec %[n]\n\tjnz 1b\n\tvzeroupper"        \
               : [n] "+r"(n)                                                                   \
               :                                                                               \
               : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", \
                 "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15")
#define FMA_YMM(i) "vfmadd231ps %%ymm14, %%ymm15, %%ymm" #i "\n\t"
#define FMA_ZMM(i) "vfmadd231ps %%zmm14, %%zmm15, %%zmm" #i "\n\t"
#define BYTES_YMM(i) \
  "vpmaddubsw %%ymm14, %%ymm15, %%ymm13\n\tvpaddw %%ymm13, %%ymm" #i ", %%ymm" #i "\n\t"
#define WORDS_YMM(i) \
  "vpmaddwd %%ymm14, %%ymm15, %%ymm13\n\tvpaddd %%ymm13, %%ymm" #i ", %%ymm" #i "\n\t"
#define VNNI_YMM(i) "%{vex%} vpdpbusd %%ymm14, %%ymm15, %%ymm" #i "\n\t"
#define VNNI_WORDS_YMM(i) "%{vex%} vpdpwssd %%ymm14, %%ymm15, %%ymm" #i "\n\t"
#define BYTES_ZMM(i) \
  "vpmaddubsw %%zmm14, %%zmm15, %%zmm13\n\tvpaddw %%zmm13, %%zmm" #i ", %%zmm" #i "\n\t"
#define WORDS_ZMM(i) \
  "vpmaddwd %%zmm14, %%zmm15, %%zmm13\n\tvpaddd %%zmm13, %%zmm" #i ", %%zmm" #i "\n\t"
#define VNNI_ZMM(i) "vpdpbusd %%zmm14, %%zmm15, %%zmm" #i "\n\t"
#define VNNI_WORDS_ZMM(i) "vpdpwssd %%zmm14, %%zmm15, %%zmm" #i "\n\t"

void fma_ymm(int64_t n) { STEPGUARD_LOOP(STEPGUARD_TWELVE(FMA_YMM)); }
void fma_zmm(int64_t n) { STEPGUARD_LOOP(STEPGUARD_TWELVE(FMA_ZMM)); }
void bytes_ymm(int64_t n) { STEPGUARD_LOOP(STEPGUARD_TWELVE(BYTES_YMM)); }
void words_ymm(int64_t n) { STEPGUARD_LOOP(STEPGUARD_TWELVE(WORDS_YMM)); }
void bytes_zmm(int64_t n) { STEPGUARD_LOOP(STEPGUARD_TWELVE(BYTES_ZMM)); }
void words_zmm(int64_t n) { STEPGUARD_LOOP(STEPGUARD_TWELVE(WORDS_ZMM)); }
void vnni_ymm(int64_t n) { STEPGUARD_LOOP(STEPGUARD_TWELVE(VNNI_YMM)); }
void vnni_words_ymm(int64_t n) { STEPGUARD_LOOP(STEPGUARD_TWELVE(VNNI_WORDS_YMM)); }
void vnni_zmm(int64_t n) { STEPGUARD_LOOP(STEPGUARD_TWELVE(VNNI_ZMM)); }
void vnni_words_zmm(int64_t n) { STEPGUARD_LOOP(STEPGUARD_TWELVE(VNNI_WORDS_ZMM)); }

// Sixteen rows and columns, 64 bytes along k: palette 1, the bytes of a row, the rows.
void tile_loop(int64_t n, bool bytes) {
  alignas(64) uint8_t config[64] = {1};
  alignas(64) static const uint8_t zeros[1024] = {};
  for (int tile = 0; tile < 8; ++tile) config[16 + 2 * tile] = 64, config[48 + tile] = 16;
  const int64_t stride = 64;
  asm volatile(
      "ldtilecfg %[config]\n\t"
      "tileloadd (%[zeros],%[stride],1), %%tmm4\n\ttileloadd (%[zeros],%[stride],1), %%tmm5\n\t"
      "tileloadd (%[zeros],%[stride],1), %%tmm6\n\ttileloadd (%[zeros],%[stride],1), %%tmm7\n\t"
      "tilezero %%tmm0\n\ttilezero %%tmm1\n\ttilezero %%tmm2\n\ttilezero %%tmm3"
      :
      : [config] "m"(config), [zeros] "r"(zeros), [stride] "r"(stride)
      : "memory");
  if (bytes) {
    asm volatile(
        "1:\n\ttdpbssd %%tmm6, %%tmm4, %%tmm0\n\ttdpbssd %%tmm7, %%tmm4, %%tmm1\n\t"
        "tdpbssd %%tmm6, %%tmm5, %%tmm2\n\ttdpbssd %%tmm7, %%tmm5, %%tmm3\n\t"
        "dec %[n]\n\tjnz 1b"
        : [n] "+r"(n)
        :
        : "cc");
  } else {
    asm volatile(
        "1:\n\ttdpbf16ps %%tmm6, %%tmm4, %%tmm0\n\ttdpbf16ps %%tmm7, %%tmm4, %%tmm1\n\t"
        "tdpbf16ps %%tmm6, %%tmm5, %%tmm2\n\ttdpbf16ps %%tmm7, %%tmm5, %%tmm3\n\t"
        "dec %[n]\n\tjnz 1b"
        : [n] "+r"(n)
        :
        : "cc");
  }
  asm volatile("tilerelease");
}
void tile_bytes(int64_t n) { tile_loop(n, true); }
void tile_bfloats(int64_t n) { tile_loop(n, false); }

// The one table that needs leave of the operating system, which looking for it asks for.
bool has_amx() { return find_table("amx") != nullptr; }
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avxvnni() { return __builtin_cpu_supports("avxvnni"); }
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
}
bool has_vnni() { return has_avx512() && __builtin_cpu_supports("avx512vnni"); }

// Of loops with one name the first that is available counts.
constexpr Loop kLoops[] = {
    {"avx2/fp32", 12 * 2 * 8, has_avx2, fma_ymm},
    {"avx2/int8", 12 * 2 * 32, has_avx2, bytes_ymm},
    {"avx2/int16", 12 * 2 * 16, has_avx2, words_ymm},
    {"avxvnni/int8", 12 * 2 * 32, has_avxvnni, vnni_ymm},
    {"avxvnni/int16", 12 * 2 * 16, has_avxvnni, vnni_words_ymm},
    {"avx512/fp32", 12 * 2 * 16, has_avx512, fma_zmm},
    {"avx512/int8", 12 * 2 * 64, has_vnni, vnni_zmm},
    {"avx512/int8", 12 * 2 * 64, has_avx512, bytes_zmm},
    {"avx512/int16", 12 * 2 * 32, has_vnni, vnni_words_zmm},
    {"avx512/int16", 12 * 2 * 32, has_avx512, words_zmm},
    {"amx/int8", 4 * 2 * 16 * 16 * 64, has_amx, tile_bytes},
    {"amx/bf16", 4 * 2 * 16 * 16 * 32, has_amx, tile_bfloats},
};

#elif defined(__aarch64__)

#define STEPGUARD_LOOP(body) \
  asm volatile(                                                                                \
      ".arch armv8.2-a+dotprod\n\t" STEPGUARD_TWELVE(ZERO) "movi v14.2d, #0\n\t"               \
      "movi v15.2d, #0\n1:\n\t" body "subs %[n], %[n], #1\n\tb.ne 1b"                          \
      : [n] "+r"(n)                                                                            \
      :                                                                                        \
      : "cc", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v14", \
        "v15")

#define ZERO(i) "movi v" #i ".2d, #0\n\t"
#define FMA(i) "fmla v" #i ".4s, v14.4s, v15.4s\n\t"
#define DOT(i) "sdot v" #i ".4s, v14.16b, v15.16b\n\t"
#define WORDS(i) "smlal v" #i ".4s, v14.4h, v15.4h\n\t"

void fma_neon(int64_t n) { STEPGUARD_LOOP(STEPGUARD_TWELVE(FMA)); }
void dot_neon(int64_t n) { STEPGUARD_LOOP(STEPGUARD_TWELVE(DOT)); }
void words_neon(int64_t n) { STEPGUARD_LOOP(STEPGUARD_TWELVE(WORDS)); }

bool always() { return true; }
bool has_dot() {
#if defined(__linux__)
  constexpr unsigned long kDotProducts = 1UL << 20;  // HWCAP_ASIMDDP
  return (getauxval(AT_HWCAP) & kDotProducts) != 0;
#else
  return false;
#endif
}

constexpr Loop kLoops[] = {
    {"neon/fp32", 12 * 2 * 4, always, fma_neon},
    {"neon/int8", 12 * 2 * 16, has_dot, dot_neon},
    {"neon/int16", 12 * 2 * 4, always, words_neon},
};

#else

bool never() { return false; }
constexpr Loop kLoops[] = {{"", 0.0, never, nullptr}};

#endif

}  // namespace

std::vector<std::pair<std::string, double>> measure_peaks(int threads) {
  ThreadPool pool(threads);
  pool.begin_forward();
  std::vector<std::pair<std::string, double>> peaks = {{"memory", bytes_a_second(pool) / 1e9}};
  for (const Loop& loop : kLoops) {
    if (peaks.back().first == loop.name || !loop.available()) continue;
    peaks.emplace_back(loop.name, operations_a_second(pool, loop) / 1e9);
  }
  pool.end_forward();
  return peaks;
}

}  // namespace stepguard
