// The kernels over registers of f32 that every set compiles from one source.

#include <array>
#include <cstring>
#include <utility>

#include "backends/cpu/neon/set.h"
#include "backends/cpu/neon/vectors.h"

namespace bantam::cpu::neon {

#include "backends/cpu/simd/accumulate.inc"
#include "backends/cpu/simd/dot.inc"

}  // namespace bantam::cpu::neon
