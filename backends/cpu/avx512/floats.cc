// The kernels over registers of f32 that every set compiles from one source.

#include <immintrin.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <type_traits>
#include <utility>

#include "backends/cpu/avx512/isa.h"
#include "backends/cpu/avx512/set.h"
#include "backends/cpu/avx512/vectors.h"
#include "runtime/quant/blocks.h"
#include "runtime/quant/decode.h"

BANTAM_AVX512_BEGIN

namespace bantam::cpu::avx512 {
namespace {

template <typename Block>
inline V::Type BlockRegister(const uint8_t* block, int i) {
  int16_t half;
  std::memcpy(&half, block + offsetof(Block, d), sizeof(half));
  const auto* from = reinterpret_cast<const __m128i*>(block + offsetof(Block, qs));
  __m128i quants;
  if constexpr (std::is_same_v<Block, quant::BlockQ8_0>) {
    quants = _mm_loadu_si128(from + i);
  } else {
    const __m128i bytes = _mm_loadu_si128(from);
    quants = _mm_and_si128(i == 0 ? bytes : _mm_srli_epi16(bytes, 4), _mm_set1_epi8(15));
    quants = _mm_sub_epi8(quants, _mm_set1_epi8(8));
  }
  const V::Type d = _mm512_cvtph_ps(_mm256_set1_epi16(half));
  return V::Mul(d, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(quants)));
}

}  // namespace

// All stand within the pragma of this file and include nothing themselves.
#include "backends/cpu/simd/dot.inc"
#include "backends/cpu/simd/exp.inc"
// After those.
#include "backends/cpu/simd/activate.inc"
#include "backends/cpu/simd/attend.inc"

}  // namespace bantam::cpu::avx512

BANTAM_AVX512_END
