#include <algorithm>
#include <array>
#include <type_traits>

#include "backends/cpu/avx2/interleaved.h"
#include "backends/cpu/avxvnni/dots.h"
#include "backends/cpu/avxvnni/isa.h"
#include "backends/cpu/avxvnni/set.h"

BANTAM_AVXVNNI_BEGIN

namespace bantam::cpu::avxvnni {
using namespace avx2;

#include "backends/cpu/avx2/matmul_interleaved.inc"

}  // namespace bantam::cpu::avxvnni

BANTAM_AVXVNNI_END
