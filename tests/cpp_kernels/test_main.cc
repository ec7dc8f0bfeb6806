// The main of one of the tests: STEPGUARD_RUN is its name.
#include <cstdio>

#include "tested_tables.h"

int main() {
  const int failures = stepguard::STEPGUARD_RUN();
  std::printf("%d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
