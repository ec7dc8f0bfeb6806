// The fused operations of a guard's forward pass, as plain functions over raw pointers.
//
// Nothing here knows ONNX Runtime, Python or threads: a caller splits the work into ranges and
// calls the functions of one table. Every function obeys the bitwise law: the bits of an output
// row depend on its own inputs and the table only, never on how many rows or columns are computed
// in one call or how ranges are cut.
#pragma once

#include <cstddef>
#include <cstdint>

// Marks small functions that kernels of a GPU call too.
#ifdef __CUDACC__
#define STEPGUARD_DEVICE __host__ __device__
#else
#define STEPGUARD_DEVICE
#endif

namespace stepguard {

constexpr int kPage = 32;         // tokens of a KV page = keys of an attention block
constexpr int kPanel = 16;        // output columns of a weight panel
constexpr int kBlock = 32;        // weights that share a scale
constexpr int kMaxHeadDim = 256;  // attention keeps rows of this size on the stack
constexpr int kMaxConvWidth = 8;

enum class WeightFormat : int32_t { kFloat32 = 0, kInt8 = 1, kInt4 = 2 };
// What a Linear multiplies: float32 rows with decoded weights, the weights as they are with rows
// that were rounded to integers (integer_rows.h), or both as bfloat16 (bfloat16_rows.h), which only
// some tables can. Float32 weights take float32 rows only.
enum class Activations : int32_t { kFloat32 = 0, kInt8 = 1, kBfloat16 = 2 };
enum class Epilogue : int32_t { kNone = 0, kResidual = 1, kSwiGlu = 2 };

// Weights of one Linear: y[n] = sum_k x[k] * w[k][n] (+ bias).
//   float32 [panels][k][16]; int8 [panels][kp/4][16][4]; int4 [panels][kp/8][16] u32 (nibble i of
//   the word is k = 8g + i, value + 8). scales: fp16 [panels][kp/32][16]. kp = k rounded up to 32.
struct LinearWeight {
  WeightFormat format = WeightFormat::kFloat32;
  int64_t n = 0;  // columns; with SwiGLU 2*m where panels alternate gate, up
  int64_t k = 0;
  const void* data = nullptr;
  const uint16_t* scales = nullptr;  // null for float32
  const float* bias = nullptr;       // [n] or null
};

// Rows that a Linear reads, x [rows][k]: what packing them depends on.
struct LinearInput {
  WeightFormat format = WeightFormat::kFloat32;
  Activations activations = Activations::kFloat32;
  int64_t rows = 0, k = 0;
};

// One call of Linear over `rows` packed rows. `packed` is what linear_pack wrote for x.
struct LinearCall {
  LinearWeight weight;
  Activations activations = Activations::kFloat32;
  Epilogue epilogue = Epilogue::kNone;
  const void* packed = nullptr;
  int64_t rows = 0;
  const float* residual = nullptr;  // [rows][n], only with kResidual
  float* y = nullptr;               // [rows][n], or [rows][n/2] with kSwiGlu
};

struct AttentionShape {
  int64_t heads = 0, kv_heads = 0, head_dim = 0, rotary_dim = 0;
  float scale = 1.0F, epsilon = 1e-6F, norm_offset = 0.0F;
  const float* q_norm = nullptr;  // [head_dim] or null
  const float* k_norm = nullptr;
  bool kv_half = false;  // pages in fp16, else float32
  // Bytes of one page: per kv head a K plane [head_dim][32], then a V plane [32][head_dim].
  int64_t page_bytes() const { return kv_heads * 2 * kPage * head_dim * (kv_half ? 2 : 4); }
};

// A Gated DeltaNet layer. Its rows hold k_heads heads of q, as many of k (k_dim each), then v_heads
// heads of v (v_dim each): the channels of the convolution. v_heads is a multiple of k_heads, and
// consecutive v heads share a k head. Both dims are at most kMaxHeadDim.
struct DeltaShape {
  int64_t k_heads = 0, v_heads = 0, k_dim = 0, v_dim = 0;
  int64_t conv_width = 0;              // 2 to kMaxConvWidth
  float epsilon = 1e-6F;               // of the gated norm
  const float* conv_weight = nullptr;  // [channels][conv_width], oldest token first
  const float* a_log = nullptr;        // [v_heads]
  const float* dt_bias = nullptr;      // [v_heads]
  const float* norm = nullptr;         // [v_dim]
};

// One segment of such a layer. A null source stands for zeros, the state that has read nothing; a
// null target for an end that nobody needs. Source and target may be the same memory.
struct DeltaCall {
  int64_t rows = 0;
  const float* qkvz = nullptr;         // [rows][channels + v_heads * v_dim]
  const float* ba = nullptr;           // [rows][2][v_heads]
  const float* conv_source = nullptr;  // [channels][conv_width - 1], oldest token first
  float* conv_target = nullptr;
  const float* delta_source = nullptr;  // [v_heads][k_dim][v_dim]
  float* delta_target = nullptr;
  // Written by prepare and read by rule: the heads of q, k and v one after the other, [rows][dim]
  // each; and decay and beta, [v_heads][rows][2].
  float* qkv = nullptr;
  float* gates = nullptr;
  float* out = nullptr;  // [rows][v_heads * v_dim]
};

// One table per instruction set.
struct KernelTable {
  const char* name;
  const char* description;
  bool multiplies_bfloat16;  // Activations::kBfloat16; none of the others may be asked for it

  // y[r] = x[r] / sqrt(mean(x[r]^2) + epsilon) * (offset + weight).
  void (*rms_norm)(const float* x, const float* weight, float epsilon, float offset, int64_t rows,
                   int64_t width, float* y);

  // Row `id` of an 8-bit table (blocks of 32 along the row) or of a float32 one (scales null).
  void (*embed)(const int32_t* ids, int64_t rows, const void* table, const uint16_t* scales,
                int64_t width, float* y);

  // Dot product of a normed row with output row `id` of such a table.
  float (*read_row)(const float* x, int64_t id, const void* table, const uint16_t* scales,
                    int64_t width);

  // The same for `rows` normed rows x [rows][width] and output rows [begin, end), bit for bit:
  // y [rows][end - begin].
  void (*read_rows)(const float* x, int64_t rows, int64_t begin, int64_t end, const void* table,
                    const uint16_t* scales, int64_t width, float* y);

  // Linear in two parts. Pack: x -> the layout of this table, for row blocks [block_begin,
  // block_end) of linear_blocks(input). Then compute the column units [begin, end): a unit is a
  // panel, or a gate/up pair of panels with SwiGLU.
  int64_t (*linear_blocks)(const LinearInput& input);
  size_t (*linear_packed_bytes)(const LinearInput& input);
  void (*linear_pack)(const LinearInput& input, const float* x, int64_t block_begin,
                      int64_t block_end, void* packed);
  void (*linear)(const LinearCall& call, int64_t unit_begin, int64_t unit_end);

  // One row of qkv: q (all heads) is normed, rotated and written to q_out [heads*head_dim]; k is
  // normed, rotated, rounded to the page type and written, v rounded and written, both for kv heads
  // [head_begin, head_end) (and q heads of those groups) at slot `slot` of `page`.
  // cos, sin: [rotary_dim/2] of the row's position.
  void (*attention_prepare)(const AttentionShape& shape, const float* qkv, const float* cos,
                            const float* sin, int64_t head_begin, int64_t head_end, float* q_out,
                            void* page, int64_t slot);

  // Causal attention of `rows` consecutive rows of one segment, at absolute positions
  // position..position+rows-1, for one kv head (all query heads of its group). q and out are
  // [rows][heads*head_dim]; arena is the layer's first page; pages[i] holds positions 32i..32i+31.
  // Reduces in blocks of 32 keys at absolute positions with an online softmax.
  void (*attention)(const AttentionShape& shape, const float* q, int64_t position, int64_t rows,
                    const int32_t* pages, const void* arena, int64_t kv_head, float* out);

  // Copies the first `tokens` slots of one page to another.
  void (*copy_page)(const AttentionShape& shape, const void* source, void* target, int64_t tokens);

  // x[r][i] *= sigmoid(gate[r][i]): the output gate of attention.
  void (*sigmoid_gate)(const float* gate, int64_t gate_stride, int64_t rows, int64_t width,
                       float* x, int64_t stride);

  // The gated delta rule in two parts. Prepare, for units [begin, end) of the 2 k_heads + v_heads
  // heads of q, k and v: causal convolution over the tokens and SiLU; q and k to unit length, q
  // then divided by sqrt(k_dim); the gates of a v head. Then the rule for v heads [begin, end),
  // once all units are prepared, token by token on a float32 state S:
  //   S *= decay; d = beta * (v - k.S); S += k d; o = q.S; out = rms_norm(o) * norm * silu(z)
  void (*delta_prepare)(const DeltaShape& shape, const DeltaCall& call, int64_t unit_begin,
                        int64_t unit_end);
  void (*delta_rule)(const DeltaShape& shape, const DeltaCall& call, int64_t head_begin,
                     int64_t head_end);
};

// Tables that this build has and this CPU and operating system can run, best first; `generic`,
// the plain reference with double accumulation, is always the last.
const KernelTable* const* available_tables(size_t* count);

// The table of that name, or null. Names that the build or the CPU lacks give null.
const KernelTable* find_table(const char* name);

// Why find_table(name) is null: "unknown name", "not in this build" or "this CPU lacks avx2, fma".
// Null when there is such a table.
const char* table_problem(const char* name);

float half_to_float(uint16_t half);
uint16_t float_to_half(float value);  // round to nearest even

}  // namespace stepguard
