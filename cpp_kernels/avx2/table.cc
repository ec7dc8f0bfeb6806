#include "avx2/table.h"

#include "pages.h"

namespace stepguard::avx2 {

const KernelTable kTable = STEPGUARD_KERNEL_TABLE("avx2", "AVX2, FMA and F16C", false);

}  // namespace stepguard::avx2
