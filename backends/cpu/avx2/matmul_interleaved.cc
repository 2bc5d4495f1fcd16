#include <algorithm>
#include <array>
#include <type_traits>

#include "backends/cpu/avx2/dots.h"
#include "backends/cpu/avx2/interleaved.h"
#include "backends/cpu/avx2/isa.h"
#include "backends/cpu/avx2/set.h"

BANTAM_AVX2_BEGIN

namespace bantam::cpu::avx2 {

#include "backends/cpu/avx2/matmul_interleaved.inc"

}  // namespace bantam::cpu::avx2

BANTAM_AVX2_END
