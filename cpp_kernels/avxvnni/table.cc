#include "avxvnni/table.h"

#include "avx2/table.h"
#include "pages.h"

namespace stepguard::avxvnni {
namespace taken {

// AVX-VNNI adds products of integers, which only Linear has.
using avx2::attention;
using avx2::attention_prepare;
using avx2::delta_prepare;
using avx2::delta_rule;
using avx2::embed;
using avx2::read_row;
using avx2::read_rows;
using avx2::rms_norm;
using avx2::sigmoid_gate;

constexpr KernelTable kTable =
    STEPGUARD_KERNEL_TABLE("avxvnni", "AVX2, FMA, F16C and AVX-VNNI", false);

}  // namespace taken

const KernelTable kTable = taken::kTable;

}  // namespace stepguard::avxvnni
