#include "backends/cpu/avx2/vector_ops.h"

#include <immintrin.h>

#include <cmath>
#include <cstring>

#include "backends/cpu/avx2/isa.h"
#include "backends/cpu/avx2/vectors.h"

BANTAM_AVX2_BEGIN

namespace bantam::cpu::avx2 {

// All stand within the pragma of this file and include nothing themselves.
#include "backends/cpu/simd/exp.inc"
#include "backends/cpu/simd/math.inc"
// After those.
#include "backends/cpu/simd/activate.inc"
#include "backends/cpu/simd/vector_ops.inc"

}  // namespace bantam::cpu::avx2

BANTAM_AVX2_END
