// Registers of f32 and f64, as the kernels that every set compiles from one source name them
// (simd/*.inc).
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "backends/cpu/avx2/isa.h"

BANTAM_AVX2_BEGIN

namespace bantam::cpu::avx2 {

struct V {
  using Type = __m256;
  using Mask = __m256;
  using Four = __m128;
  using Quad = __m256;
  static constexpr int kWidth = 8;
  static Type Zero() { return _mm256_setzero_ps(); }
  static Type Set1(float x) { return _mm256_set1_ps(x); }
  static Type Load(const float* p) { return _mm256_loadu_ps(p); }
  static Type LoadHalves(const uint16_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static float LoadHalf(const uint16_t* p) {
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(*p)));
  }
  static Type LoadBrains(const uint8_t* p) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
  static void Store(float* p, Type x) { _mm256_storeu_ps(p, x); }
  static void StoreHalves(uint16_t* p, Type x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x, kNearest));
  }
  static Type Add(Type a, Type b) { return _mm256_add_ps(a, b); }
  static Type Sub(Type a, Type b) { return _mm256_sub_ps(a, b); }
  static Type Mul(Type a, Type b) { return _mm256_mul_ps(a, b); }
  static Type Div(Type a, Type b) { return _mm256_div_ps(a, b); }
  // a b + c, c - a b, a b - c
  static Type Fma(Type a, Type b, Type c) { return _mm256_fmadd_ps(a, b, c); }
  static Type Fnma(Type a, Type b, Type c) { return _mm256_fnmadd_ps(a, b, c); }
  static Type Fms(Type a, Type b, Type c) { return _mm256_fmsub_ps(a, b, c); }
  // Where `a` is no number: `b`.
  static Type Max(Type a, Type b) { return _mm256_max_ps(a, b); }
  static Type Round(Type x) { return _mm256_round_ps(x, kNearest); }
  static Mask IsLess(Type a, Type b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
  static Type Select(Mask mask, Type a, Type b) { return _mm256_blendv_ps(b, a, mask); }
  // x 2^n, for integers n from -127 to 128: in two factors, because 2^128 is no f32.
  static Type Scale(Type x, Type n) {
    const __m256i exponent = _mm256_cvtps_epi32(n), bias = _mm256_set1_epi32(127);
    const __m256i half = _mm256_srai_epi32(exponent, 1);
    const __m256i rest = _mm256_sub_epi32(exponent, half);
    x = Mul(x, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23)));
    return Mul(x, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23)));
  }
  static float Total(Type x) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }
  static float Largest(Type x) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
  }
  // The sums over the lanes of four registers, in two parts each: a half of the register.
  static Quad Quads(Type a, Type b, Type c, Type d) {
    return _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
  }
  // Those of eight registers.
  static Type Join(const Quad* quads) {
    return _mm256_add_ps(_mm256_permute2f128_ps(quads[0], quads[1], 0x20),
                         _mm256_permute2f128_ps(quads[0], quads[1], 0x31));
  }
  static Four Totals(Type a, Type b, Type c, Type d) {
    const __m256 s = Quads(a, b, c, d);
    return _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
  }
  static void StoreFour(float* p, Four x) { _mm_storeu_ps(p, x); }
  static void AddFour(float* p, Four x) { _mm_storeu_ps(p, _mm_add_ps(_mm_loadu_ps(p), x)); }

  // Of pairs in neighbouring lanes, (a[0], a[1]) and so on, times four complex numbers.
  static Type TimesComplex(Type a, const float* cosines, const float* sines) {
    const __m256i twice = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
    const __m256 c = _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(cosines)), twice);
    const __m256 s = _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(sines)), twice);
    // Even lanes x c - y s, odd ones y c + x s.
    return _mm256_fmaddsub_ps(a, c, Mul(_mm256_permute_ps(a, 0xB1), s));
  }

 private:
  static constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
};

#include "backends/cpu/simd/float_types.inc"

struct D {
  using Type = __m256d;
  static constexpr int kWidth = 4;
  static Type Zero() { return _mm256_setzero_pd(); }
  static Type Set1(double x) { return _mm256_set1_pd(x); }
  static Type Load(const double* p) { return _mm256_loadu_pd(p); }
  static void StoreFloats(float* p, Type x) { _mm_storeu_ps(p, _mm256_cvtpd_ps(x)); }
  static Type Add(Type a, Type b) { return _mm256_add_pd(a, b); }
  static Type Mul(Type a, Type b) { return _mm256_mul_pd(a, b); }
  static Type Fma(Type a, Type b, Type c) { return _mm256_fmadd_pd(a, b, c); }
  static Type Fnma(Type a, Type b, Type c) { return _mm256_fnmadd_pd(a, b, c); }
  static Type Round(Type x) {
    return _mm256_round_pd(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  // The lower and the upper lanes of a register of f32.
  static Type Lower(V::Type x) { return _mm256_cvtps_pd(_mm256_castps256_ps128(x)); }
  static Type Upper(V::Type x) { return _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1)); }
  static double Total(Type x) {
    const __m128d half = _mm_add_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd(x, 1));
    return _mm_cvtsd_f64(_mm_add_sd(half, _mm_unpackhi_pd(half, half)));
  }
  // A complex number turned by n quarters, n a whole number below 2^31.
  static void TurnQuarters(Type n, Type& sine, Type& cosine) {
    // Odd ones swap the two, bit 1 of n negates the sine and of n + 1 the cosine.
    const __m256i turns = _mm256_cvtepi32_epi64(_mm256_cvtpd_epi32(n));
    const __m256d swap = _mm256_castsi256_pd(_mm256_slli_epi64(turns, 63));
    const __m256i next = _mm256_add_epi64(turns, _mm256_set1_epi64x(1));
    const __m256d sign = _mm256_set1_pd(-0.0);
    const __m256d minus_sine =
        _mm256_and_pd(_mm256_castsi256_pd(_mm256_slli_epi64(turns, 62)), sign);
    const __m256d minus_cosine =
        _mm256_and_pd(_mm256_castsi256_pd(_mm256_slli_epi64(next, 62)), sign);
    const __m256d swapped = _mm256_blendv_pd(sine, cosine, swap);
    cosine = _mm256_xor_pd(_mm256_blendv_pd(cosine, sine, swap), minus_cosine);
    sine = _mm256_xor_pd(swapped, minus_sine);
  }
};

}  // namespace bantam::cpu::avx2

BANTAM_AVX2_END
