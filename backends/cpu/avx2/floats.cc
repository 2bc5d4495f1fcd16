// The kernels over registers of f32 that every set compiles from one source.

#include <immintrin.h>

#include <array>
#include <cstring>
#include <utility>

#include "backends/cpu/avx2/isa.h"
#include "backends/cpu/avx2/set.h"
#include "backends/cpu/avx2/vectors.h"

BANTAM_AVX2_BEGIN

namespace bantam::cpu::avx2 {

// Both stand within the pragma of this file and include nothing themselves.
#include "backends/cpu/simd/accumulate.inc"
#include "backends/cpu/simd/dot.inc"

}  // namespace bantam::cpu::avx2

BANTAM_AVX2_END
