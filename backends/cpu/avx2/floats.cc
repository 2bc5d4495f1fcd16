// The kernels over registers of f32 that every set compiles from one source.

#include <immintrin.h>

#include <array>
#include <cmath>
#include <cstring>
#include <type_traits>
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
inline V::Type BlockRegister(const uint8_t* block, int i) {
  const uint8_t* const from = block + offsetof(Block, qs);
  __m128i quants;
  if constexpr (std::is_same_v<Block, quant::BlockQ8_0>) {
    quants = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from + 8 * i));
  } else {
    // The low four bits of sixteen bytes, then the high ones.
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from + i % 2 * 8));
    quants = _mm_and_si128(i < 2 ? bytes : _mm_srli_epi16(bytes, 4), _mm_set1_epi8(15));
    quants = _mm_sub_epi8(quants, _mm_set1_epi8(8));
  }
  const V::Type d = V::Set1(HalfAt(block + offsetof(Block, d)));
  return V::Mul(d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(quants)));
}

}  // namespace

// All stand within the pragma of this file and include nothing themselves.
#include "backends/cpu/simd/dot.inc"
#include "backends/cpu/simd/exp.inc"

// After those.
#include "backends/cpu/simd/attend.inc"

}  // namespace bantam::cpu::avx2

BANTAM_AVX2_END
