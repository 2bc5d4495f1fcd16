// Kernels for arm64 processors with dot products of bytes, and with products of matrices of bytes
// (isa.h). Ops without one of their own run the reference's.
#pragma once

#include "backends/cpu/plan/kernels.h"

namespace bantam::cpu::neon {

// What the processor can do at best: the inner step of the products, on registers alone.
int64_t Int8Dots(int64_t iterations);
int64_t Int8MatrixDots(int64_t iterations);

const KernelSet& Kernels();
const KernelSet& KernelsI8mm();

}  // namespace bantam::cpu::neon
