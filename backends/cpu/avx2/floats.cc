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

// Sixteen signed bytes.
inline void StoreScaled(__m128i quants, V::Type d, float* out) {
  const __m128i high = _mm_srli_si128(quants, 8);
  V::Store(out, V::Mul(d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(quants))));
  V::Store(out + 8, V::Mul(d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(high))));
}

template <typename Block>
inline void BlockToFloats(const uint8_t* block, float* out) {
  using T = Unpack<Block>;
  const V::Type d = V::Set1(HalfAt(block + offsetof(Block, d)));
  const __m256i quants = _mm256_sub_epi8(T::Run(block, 0), Bytes(T::kBias));
  StoreScaled(_mm256_castsi256_si128(quants), d, out);
  StoreScaled(_mm256_extracti128_si256(quants, 1), d, out + 16);
}

}  // namespace

// All stand within the pragma of this file and include nothing themselves.
#include "backends/cpu/simd/dot.inc"
#include "backends/cpu/simd/exp.inc"

// After those.
#include "backends/cpu/simd/attend.inc"

}  // namespace bantam::cpu::avx2

BANTAM_AVX2_END
