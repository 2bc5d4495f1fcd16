// The operations of simd/activate_declared.inc and simd/vector_ops_declared.inc with NEON.
#pragma once

#include <cstdint>

#include "backends/cpu/simd/activation_functions.h"
#include "runtime/quant/type.h"

namespace bantam::cpu::neon {

#include "backends/cpu/simd/activate_declared.inc"
#include "backends/cpu/simd/vector_ops_declared.inc"

}  // namespace bantam::cpu::neon
