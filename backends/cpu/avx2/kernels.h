// Kernels for x86-64 processors with AVX2, FMA and F16C (Intel since 2013, AMD since 2015). Ops
// without one of their own run the reference's.
#pragma once

#include "backends/cpu/plan/kernels.h"

namespace bantam::cpu::avx2 {

// What the processor can do at best: the inner step of the products, on registers alone.
int64_t Int8Dots(int64_t iterations);

const KernelSet& Kernels();

}  // namespace bantam::cpu::avx2
