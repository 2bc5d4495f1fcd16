#include "backends/cpu/simd/activations.h"

#include <immintrin.h>

#include <cmath>
#include <cstring>

#include "backends/cpu/avx512/isa.h"
#include "backends/cpu/avx512/set.h"

BANTAM_AVX512_BEGIN

namespace bantam::cpu::avx512 {
namespace {

inline uint32_t LargestOfRun(const float* x) {
  const __m512i magnitude = _mm512_set1_epi32(0x7FFFFFFF);
  return _mm512_reduce_max_epu32(
      _mm512_max_epu32(_mm512_and_si512(_mm512_loadu_si512(x), magnitude),
                       _mm512_and_si512(_mm512_loadu_si512(x + 16), magnitude)));
}

inline void RoundRun(const float* x, float factor, int8_t* quants, int16_t (&sums)[2]) {
  const __m512 times = _mm512_set1_ps(factor);
  __m128i q[2];
  for (int half = 0; half < 2; ++half) {
    q[half] = _mm512_cvtepi32_epi8(
        _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + 16 * half), times)));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(quants + 16 * half), q[half]);
  }
  // Without a sign while they are added.
  const __m256i shifted = _mm256_xor_si256(_mm256_set_m128i(q[1], q[0]), _mm256_set1_epi8(-128));
  const __m256i eights = _mm256_sad_epu8(shifted, _mm256_setzero_si256());
  const __m256i both = _mm256_add_epi64(eights, _mm256_unpackhi_epi64(eights, eights));
  sums[0] = static_cast<int16_t>(_mm256_extract_epi16(both, 0) - 16 * 128);
  sums[1] = static_cast<int16_t>(_mm256_extract_epi16(both, 8) - 16 * 128);
}

float SquaresOfRow(const float* x, int64_t n) {
  __m512 even = _mm512_setzero_ps(), odd = even;
  for (int64_t i = 0; i < n; i += simd::kRun) {
    const __m512 a = _mm512_loadu_ps(x + i), b = _mm512_loadu_ps(x + i + 16);
    even = _mm512_fmadd_ps(a, a, even);
    odd = _mm512_fmadd_ps(b, b, odd);
  }
  return _mm512_reduce_add_ps(_mm512_add_ps(even, odd));
}

}  // namespace

#include "backends/cpu/simd/quantize.inc"

}  // namespace bantam::cpu::avx512

BANTAM_AVX512_END
