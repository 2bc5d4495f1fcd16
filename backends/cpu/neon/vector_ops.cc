#include "backends/cpu/neon/vector_ops.h"

#include <cmath>
#include <cstring>

#include "backends/cpu/neon/vectors.h"

namespace bantam::cpu::neon {

#include "backends/cpu/simd/exp.inc"
#include "backends/cpu/simd/math.inc"
// After those.
#include "backends/cpu/simd/activate.inc"
#include "backends/cpu/simd/vector_ops.inc"

}  // namespace bantam::cpu::neon
