#include "reference/table.h"

#include "pages.h"

namespace stepguard::reference {

const KernelTable kTable = STEPGUARD_KERNEL_TABLE("generic", "plain loops, sums in double", true);

}  // namespace stepguard::reference
