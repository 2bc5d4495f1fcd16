// Exponential, sine and cosine of whole registers.
#pragma once

#include <immintrin.h>

#include "backends/cpu/avx2/isa.h"

BANTAM_AVX2_BEGIN

namespace bantam::cpu::avx2 {

// e^x within 2 ulp (tests/backends/cpu/cpu_simd_math_test.cc). Below -87.3 the result is 0 (where
// that of f32 would become subnormal), above 88.7 it is infinite; NaN stays NaN.
inline __m256 Exp(__m256 x) {
  const __m256 low = _mm256_set1_ps(-87.33654f), high = _mm256_set1_ps(88.72283f);
  const __m256 flushed = _mm256_cmp_ps(x, low, _CMP_LT_OQ);
  const __m256 overflown = _mm256_cmp_ps(x, high, _CMP_GT_OQ);
  // The second operand is the result where one is NaN.
  x = _mm256_min_ps(high, _mm256_max_ps(low, x));
  const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)),
                                   _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  // ln 2 in two parts, the first with few enough bits that its product with n is exact.
  __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
  r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
  // Taylor's polynomial; |r| <= ln 2 / 2 leaves less than 6e-9.
  __m256 p = _mm256_set1_ps(1.0f / 5040);
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 720));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 120));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 24));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 6));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.5f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
  // 2^n in two factors, because 2^128 is no f32.
  const __m256i exponent = _mm256_cvtps_epi32(n), bias = _mm256_set1_epi32(127);
  const __m256i half = _mm256_srai_epi32(exponent, 1);
  const __m256i rest = _mm256_sub_epi32(exponent, half);
  p = _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23)));
  p = _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23)));
  p = _mm256_andnot_ps(flushed, p);
  return _mm256_blendv_ps(p, _mm256_set1_ps(__builtin_inff()), overflown);
}

// Sine and cosine within 1e-12, for |x| below 2^31: enough to round to f32.
inline void SinCos(__m256d x, __m256d* sine, __m256d* cosine) {
  const __m256d n = _mm256_round_pd(_mm256_mul_pd(x, _mm256_set1_pd(0.63661977236758134308)),
                                    _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  // pi / 2 in two parts.
  __m256d r = _mm256_fnmadd_pd(n, _mm256_set1_pd(1.57079632679489655800), x);
  r = _mm256_fnmadd_pd(n, _mm256_set1_pd(6.12323399573676603587e-17), r);
  const __m256d s = _mm256_mul_pd(r, r);
  __m256d p = _mm256_set1_pd(1.0 / 6227020800.0);
  p = _mm256_fmadd_pd(p, s, _mm256_set1_pd(-1.0 / 39916800.0));
  p = _mm256_fmadd_pd(p, s, _mm256_set1_pd(1.0 / 362880.0));
  p = _mm256_fmadd_pd(p, s, _mm256_set1_pd(-1.0 / 5040.0));
  p = _mm256_fmadd_pd(p, s, _mm256_set1_pd(1.0 / 120.0));
  p = _mm256_fmadd_pd(p, s, _mm256_set1_pd(-1.0 / 6.0));
  const __m256d sine_r = _mm256_fmadd_pd(_mm256_mul_pd(p, s), r, r);
  __m256d q = _mm256_set1_pd(-1.0 / 87178291200.0);
  q = _mm256_fmadd_pd(q, s, _mm256_set1_pd(1.0 / 479001600.0));
  q = _mm256_fmadd_pd(q, s, _mm256_set1_pd(-1.0 / 3628800.0));
  q = _mm256_fmadd_pd(q, s, _mm256_set1_pd(1.0 / 40320.0));
  q = _mm256_fmadd_pd(q, s, _mm256_set1_pd(-1.0 / 720.0));
  q = _mm256_fmadd_pd(q, s, _mm256_set1_pd(1.0 / 24.0));
  q = _mm256_fmadd_pd(q, s, _mm256_set1_pd(-0.5));
  const __m256d cosine_r = _mm256_fmadd_pd(q, s, _mm256_set1_pd(1.0));
  // Quarter turns: odd ones swap the two, bit 1 of n negates the sine and of n + 1 the cosine.
  const __m256i turns = _mm256_cvtepi32_epi64(_mm256_cvtpd_epi32(n));
  const __m256d swap = _mm256_castsi256_pd(_mm256_slli_epi64(turns, 63));
  const __m256i next = _mm256_add_epi64(turns, _mm256_set1_epi64x(1));
  const __m256d sign = _mm256_set1_pd(-0.0);
  const __m256d minus_sine = _mm256_and_pd(_mm256_castsi256_pd(_mm256_slli_epi64(turns, 62)), sign);
  const __m256d minus_cosine =
      _mm256_and_pd(_mm256_castsi256_pd(_mm256_slli_epi64(next, 62)), sign);
  *sine = _mm256_xor_pd(_mm256_blendv_pd(sine_r, cosine_r, swap), minus_sine);
  *cosine = _mm256_xor_pd(_mm256_blendv_pd(cosine_r, sine_r, swap), minus_cosine);
}

}  // namespace bantam::cpu::avx2

BANTAM_AVX2_END
