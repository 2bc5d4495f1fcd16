#include "backends/cpu/simd/activations.h"

#include <immintrin.h>

#include <cmath>
#include <cstring>

#include "backends/cpu/avx2/isa.h"
#include "backends/cpu/avx2/set.h"

BANTAM_AVX2_BEGIN

namespace bantam::cpu::avx2 {
namespace {

int32_t MaxOf8(__m256i v) {
  __m128i m = _mm_max_epu32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4E));
  m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0xB1));
  return _mm_cvtsi128_si32(m);
}

int32_t SumOf4(__m128i v) {
  v = _mm_add_epi32(v, _mm_shuffle_epi32(v, 0x4E));
  v = _mm_add_epi32(v, _mm_shuffle_epi32(v, 0xB1));
  return _mm_cvtsi128_si32(v);
}

inline uint32_t LargestOfRun(const float* x) {
  const __m256i magnitude = _mm256_set1_epi32(0x7FFFFFFF);
  __m256i largest = _mm256_setzero_si256();
  for (int i = 0; i < 4; ++i) {
    const __m256 v = _mm256_loadu_ps(x + 8 * i);
    largest = _mm256_max_epu32(largest, _mm256_and_si256(_mm256_castps_si256(v), magnitude));
  }
  return MaxOf8(largest);
}

inline void RoundRun(const float* x, float factor, int8_t* quants, int16_t (&sums)[2]) {
  const __m256 times = _mm256_set1_ps(factor);
  __m256i q[4];
  for (int i = 0; i < 4; ++i) {
    q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), times));
  }
  for (int half = 0; half < 2; ++half) {
    const __m256i both = _mm256_add_epi32(q[2 * half], q[2 * half + 1]);
    sums[half] = static_cast<int16_t>(
        SumOf4(_mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1))));
  }
  // Packing works within halves of a register; the permutation puts the groups of four in order.
  const __m256i packed =
      _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(quants),
                      _mm256_permutevar8x32_epi32(packed, order));
}

float SquaresOfRow(const float* x, int64_t n) {
  __m256 sum = _mm256_setzero_ps();
  for (int64_t i = 0; i < n; i += 8) {
    const __m256 v = _mm256_loadu_ps(x + i);
    sum = _mm256_fmadd_ps(v, v, sum);
  }
  alignas(32) float lanes[8];
  _mm256_store_ps(lanes, sum);
  return ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5])) +
         ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]));
}

}  // namespace

#include "backends/cpu/simd/quantize.inc"

}  // namespace bantam::cpu::avx2

BANTAM_AVX2_END
