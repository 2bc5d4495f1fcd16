// Kernels for x86-64 processors with AMX (isa.h): the set avx512vnni's, but products of more than
// kFewColumns rows, a prompt's, are made on tiles (matmul.h).
#pragma once

#include "backends/cpu/plan/kernels.h"

namespace bantam::cpu::amx {

// What the processor can do at best: products of bytes, on tiles alone.
int64_t Int8Dots(int64_t iterations);

// For tests on processors without tiles, which carry out the instructions when these are refused
// (tests/amx): from now on the set counts as one that runs here, if the processor has the rest.
void AssumeTiles();
bool TilesAreAssumed();

const KernelSet& Kernels();

}  // namespace bantam::cpu::amx
