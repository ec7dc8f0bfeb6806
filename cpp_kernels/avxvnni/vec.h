// Vectors of 8 floats: those of avx2, in this table's namespace.
#pragma once

#define STEPGUARD_TABLE avxvnni

#include "avx2/integers.h"
#include "avx2/vec.h"
