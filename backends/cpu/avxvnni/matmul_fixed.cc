// Products in fixed point with AVX-VNNI: two products of 16 bits are added to each lane at once.

#include "backends/cpu/simd/matmul_fixed.h"

#include <immintrin.h>

#include <array>
#include <cstring>
#include <type_traits>
#include <utility>

#include "backends/cpu/avx2/unpack.h"
#include "backends/cpu/avx2/vectors.h"
#include "backends/cpu/avxvnni/dots.h"
#include "backends/cpu/avxvnni/isa.h"
#include "backends/cpu/avxvnni/set.h"

BANTAM_AVXVNNI_BEGIN

namespace bantam::cpu::avxvnni {

using namespace avx2;

#include "backends/cpu/avx2/matmul_fixed.inc"

}  // namespace bantam::cpu::avxvnni

BANTAM_AVXVNNI_END
