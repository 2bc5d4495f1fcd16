// The kernels over registers of f32 that every set compiles from one source.

#include <immintrin.h>

#include <array>
#include <cmath>
#include <cstring>
#include <utility>

#include "backends/cpu/avx2/isa.h"
#include "backends/cpu/avx2/set.h"
#include "backends/cpu/avx2/unpack.h"
#include "backends/cpu/avx2/vectors.h"
#include "runtime/quant/decode.h"

BANTAM_AVX2_BEGIN

namespace bantam::cpu::avx2 {
namespace {

template <typename Block>
inline void BlockToFloats(const uint8_t* block, float* out) {
  using T = Unpack<Block>;
  const __m256 d = _mm256_set1_ps(HalfAt(block + offsetof(Block, d)));
  const __m256i quants = _mm256_sub_epi8(T::Run(block, 0), Bytes(T::kBias));
  const __m128i half[2] = {_mm256_castsi256_si128(quants), _mm256_extracti128_si256(quants, 1)};
  for (int j = 0; j < 4; ++j) {
    const __m128i eight = j % 2 == 0 ? half[j / 2] : _mm_srli_si128(half[j / 2], 8);
    _mm256_storeu_ps(out + 8 * j,
                     _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eight))));
  }
}

}  // namespace

// All stand within the pragma of this file and include nothing themselves.
#include "backends/cpu/simd/dot.inc"
#include "backends/cpu/simd/exp.inc"

// After those.
#include "backends/cpu/simd/attend.inc"

}  // namespace bantam::cpu::avx2

BANTAM_AVX2_END
