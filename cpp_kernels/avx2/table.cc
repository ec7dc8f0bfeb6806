#include "avx2/table.h"

#include "pages.h"

namespace stepguard::avx2 {

const KernelTable kTable = {
    "avx2",
    "AVX2, FMA and F16C",
    rms_norm,
    embed,
    read_row,
    linear_blocks,
    linear_packed_bytes,
    linear_pack,
    linear,
    attention_prepare,
    attention,
    copy_page,
    sigmoid_gate,
    delta_prepare,
    delta_rule,
};

}  // namespace stepguard::avx2
