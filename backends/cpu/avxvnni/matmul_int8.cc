#include <array>
#include <type_traits>
#include <utility>

#include "backends/cpu/avx2/unpack.h"
#include "backends/cpu/avx2/unpack_codebook.h"
#include "backends/cpu/avxvnni/dots.h"
#include "backends/cpu/avxvnni/isa.h"
#include "backends/cpu/avxvnni/set.h"

BANTAM_AVXVNNI_BEGIN

namespace bantam::cpu::avxvnni {
using namespace avx2;

#include "backends/cpu/avx2/matmul_int8.inc"

}  // namespace bantam::cpu::avxvnni

BANTAM_AVXVNNI_END
