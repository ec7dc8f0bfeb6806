#include "avx512/table.h"

#include "avx2/table.h"
#include "pages.h"

namespace stepguard::avx512 {
namespace taken {

// Bound by memory, or a few hundred elements a token: nothing is won by wider vectors.
using avx2::attention_prepare;
using avx2::embed;
using avx2::read_row;
using avx2::read_rows;

constexpr KernelTable kTable =
    STEPGUARD_KERNEL_TABLE("avx512", "AVX-512 (F, BW, VL, DQ, VNNI)", false);

}  // namespace taken

const KernelTable kTable = taken::kTable;

}  // namespace stepguard::avx512
