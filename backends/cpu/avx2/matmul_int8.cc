#include <array>
#include <type_traits>
#include <utility>

#include "backends/cpu/avx2/dots.h"
#include "backends/cpu/avx2/isa.h"
#include "backends/cpu/avx2/set.h"
#include "backends/cpu/avx2/unpack.h"
#include "backends/cpu/avx2/unpack_codebook.h"

BANTAM_AVX2_BEGIN

namespace bantam::cpu::avx2 {

#include "backends/cpu/avx2/matmul_int8.inc"

}  // namespace bantam::cpu::avx2

BANTAM_AVX2_END
