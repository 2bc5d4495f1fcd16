// Four products of bytes, or two of 16 bits, added to each lane, as AVX2 can: what products.inc and
// matmul_fixed.inc need.
#pragma once

#include <immintrin.h>

#include "backends/cpu/avx2/isa.h"
#include "backends/cpu/avx2/unpack.h"

BANTAM_AVX2_BEGIN

namespace bantam::cpu::avx2 {

inline constexpr bool kVnni = false;
inline __m256i AddDots(__m256i sum, __m256i weights, __m256i x) {
  return _mm256_add_epi32(
      sum, _mm256_madd_epi16(_mm256_maddubs_epi16(weights, x), _mm256_set1_epi16(1)));
}

inline __m256i AddPairs(__m256i sum, __m256i weights, __m256i x) {
  sum = _mm256_add_epi32(sum, _mm256_madd_epi16(weights, x));
  InThisOrder(sum);
  return sum;
}

}  // namespace bantam::cpu::avx2

BANTAM_AVX2_END
