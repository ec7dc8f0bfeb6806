#include "amx/table.h"

#include "avx2/table.h"
#include "avx512/table.h"
#include "pages.h"

namespace stepguard::amx {
namespace taken {

// Tiles multiply rounded numbers; the state of the delta rule is float32.
using avx2::attention_prepare;
using avx2::embed;
using avx2::read_row;
using avx2::read_rows;
using avx512::delta_prepare;
using avx512::delta_rule;
using avx512::rms_norm;
using avx512::sigmoid_gate;

constexpr KernelTable kTable = STEPGUARD_KERNEL_TABLE("amx", "AMX (int8, bf16) and AVX-512", true);

}  // namespace taken

const KernelTable kTable = taken::kTable;

}  // namespace stepguard::amx
