#include "neon/table.h"

#include "pages.h"

namespace stepguard::neon {

const KernelTable kTable = STEPGUARD_KERNEL_TABLE("neon", "NEON with dot products", false);

}  // namespace stepguard::neon
