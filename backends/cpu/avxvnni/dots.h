// Four products of bytes, or two of 16 bits, added to each lane by one instruction: what
// avx2/products.inc and avx2/matmul_fixed.inc need.
#pragma once

#include <immintrin.h>

#include "backends/cpu/avxvnni/isa.h"

BANTAM_AVXVNNI_BEGIN

namespace bantam::cpu::avxvnni {

inline constexpr bool kVnni = true;
inline __m256i AddDots(__m256i sum, __m256i weights, __m256i x) {
  return _mm256_dpbusd_avx_epi32(sum, weights, x);
}

inline __m256i AddPairs(__m256i sum, __m256i weights, __m256i x) {
  return _mm256_dpwssd_avx_epi32(sum, weights, x);
}

}  // namespace bantam::cpu::avxvnni

BANTAM_AVXVNNI_END
