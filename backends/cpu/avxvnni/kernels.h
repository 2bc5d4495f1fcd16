// Kernels for x86-64 processors with AVX-VNNI (isa.h): AVX2's, but for products with quantized
// weights.
#pragma once

#include "backends/cpu/plan/kernels.h"

namespace bantam::cpu::avxvnni {

// What the processor can do at best: the inner step of the products, on registers alone.
int64_t Int8Dots(int64_t iterations);

const KernelSet& Kernels();

}  // namespace bantam::cpu::avxvnni
