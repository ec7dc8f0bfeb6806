#include "reference/table.h"

#include "pages.h"

namespace stepguard::reference {

const KernelTable kTable = {
    "generic",
    "plain loops, sums in double",
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

}  // namespace stepguard::reference
