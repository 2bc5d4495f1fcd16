#include "backends/cpu/simd/activations.h"

#include <immintrin.h>

#include <cmath>
#include <cstring>

#include "backends/cpu/avx2/isa.h"
#include "backends/cpu/avx2/set.h"

BANTAM_AVX2_BEGIN

namespace bantam::cpu::avx2 {
namespace {

using simd::kNoRest;
using simd::kRun;
using simd::RunOfActivations;

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

void QuantizeRun(const float* x, int8_t* quants, RunOfActivations& run) {
  const __m256i magnitude = _mm256_set1_epi32(0x7FFFFFFF);
  __m256 v[4];
  __m256i largest = _mm256_setzero_si256();
  for (int i = 0; i < 4; ++i) {
    v[i] = _mm256_loadu_ps(x + 8 * i);
    // As integers, magnitudes are in order, and infinities and NaNs above all others.
    largest = _mm256_max_epu32(largest, _mm256_and_si256(_mm256_castps_si256(v[i]), magnitude));
  }
  const int32_t bits = MaxOf8(largest);
  float most;
  std::memcpy(&most, &bits, sizeof(most));
  // Below this the inverse would be infinite; such a run is as good as zero.
  constexpr float kLeast = 1e-36f;
  if (!(most >= kLeast && most <= __FLT_MAX__)) {
    std::memset(quants, 0, kRun);
    run = {most < kLeast ? 0.0f : NAN, most < kLeast ? 0.0f : NAN, 0, {0, 0}, kNoRest};
    return;
  }
  const __m256 inverse = _mm256_set1_ps(127.0f / most);
  __m256i q[4];
  for (int i = 0; i < 4; ++i) q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], inverse));
  const int32_t first =
      SumOf4(_mm_add_epi32(_mm256_castsi256_si128(_mm256_add_epi32(q[0], q[1])),
                           _mm256_extracti128_si256(_mm256_add_epi32(q[0], q[1]), 1)));
  const int32_t last =
      SumOf4(_mm_add_epi32(_mm256_castsi256_si128(_mm256_add_epi32(q[2], q[3])),
                           _mm256_extracti128_si256(_mm256_add_epi32(q[2], q[3]), 1)));
  // Packing works within halves of a register; the permutation puts the groups of four in order.
  const __m256i packed =
      _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(quants),
                      _mm256_permutevar8x32_epi32(packed, order));
  run.d = most / 127.0f;
  run.sum = first + last;
  run.total = run.d * static_cast<float>(run.sum);
  run.half[0] = static_cast<int16_t>(first);
  run.half[1] = static_cast<int16_t>(last);
  run.rest = kNoRest;
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
