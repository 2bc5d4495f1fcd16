// Kernels for x86-64 processors with AVX-512 and its dot products of bytes (isa.h). What gains
// little from wider registers runs AVX2's.
#pragma once

#include "backends/cpu/plan/kernels.h"

namespace bantam::cpu::avx512 {

// What the processor can do at best: the inner step of the products, on registers alone.
int64_t Int8Dots(int64_t iterations);

const KernelSet& Kernels();

}  // namespace bantam::cpu::avx512
