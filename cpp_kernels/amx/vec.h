// Vectors of 16 floats beside the tiles: those of avx512, in this table's namespace.
#pragma once

#define STEPGUARD_TABLE amx

#include "avx512/integers.h"
#include "avx512/vec.h"
