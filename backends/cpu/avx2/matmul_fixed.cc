// Products in fixed point with AVX2: two products of 16 bits in one instruction, which are added to
// each lane by another that runs beside it.

#include "backends/cpu/simd/matmul_fixed.h"

#include <immintrin.h>

#include <array>
#include <cstring>
#include <type_traits>
#include <utility>

#include "backends/cpu/avx2/dots.h"
#include "backends/cpu/avx2/isa.h"
#include "backends/cpu/avx2/set.h"
#include "backends/cpu/avx2/unpack.h"
#include "backends/cpu/avx2/vectors.h"

BANTAM_AVX2_BEGIN

namespace bantam::cpu::avx2 {

#include "backends/cpu/avx2/matmul_fixed.inc"

}  // namespace bantam::cpu::avx2

BANTAM_AVX2_END
