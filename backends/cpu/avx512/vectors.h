// As avx2/vectors.h, on registers of 512 bits: what products of f32 and attention need.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "backends/cpu/avx512/isa.h"

BANTAM_AVX512_BEGIN

namespace bantam::cpu::avx512 {

struct V {
  using Type = __m512;
  using Mask = __mmask16;
  using Four = __m128;
  using Quad = __m512;
  static constexpr int kWidth = 16;
  static Type Zero() { return _mm512_setzero_ps(); }
  static Type Set1(float x) { return _mm512_set1_ps(x); }
  static Type Load(const float* p) { return _mm512_loadu_ps(p); }
  static Type LoadHalves(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static float LoadHalf(const uint16_t* p) {
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(*p)));
  }
  static Type LoadBrains(const uint8_t* p) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
  static void Store(float* p, Type x) { _mm512_storeu_ps(p, x); }
  static Type Add(Type a, Type b) { return _mm512_add_ps(a, b); }
  static Type Sub(Type a, Type b) { return _mm512_sub_ps(a, b); }
  static Type Mul(Type a, Type b) { return _mm512_mul_ps(a, b); }
  static Type Div(Type a, Type b) { return _mm512_div_ps(a, b); }
  static Type Fma(Type a, Type b, Type c) { return _mm512_fmadd_ps(a, b, c); }
  static Type Fnma(Type a, Type b, Type c) { return _mm512_fnmadd_ps(a, b, c); }
  static Type Max(Type a, Type b) { return _mm512_max_ps(a, b); }
  static Type Round(Type x) {
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static Mask IsLess(Type a, Type b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
  static Type Select(Mask mask, Type a, Type b) { return _mm512_mask_blend_ps(mask, b, a); }
  static Type Scale(Type x, Type n) { return _mm512_scalef_ps(x, n); }
  static float Total(Type x) {
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }
  static float Largest(Type x) {
    const __m256 half = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
  }
  // Each quarter has a part of all four sums.
  static Quad Quads(Type a, Type b, Type c, Type d) {
    const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    return _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xEE));
  }
  static Type Join(const Quad* quads) {
    const __m512 a = AddHalves(quads[0], quads[1]), b = AddHalves(quads[2], quads[3]);
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD));
  }
  static Four Totals(Type a, Type b, Type c, Type d) {
    const __m512 s = Quads(a, b, c, d);
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(s), _mm512_extractf32x8_ps(s, 1));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  }
  static void StoreFour(float* p, Four x) { _mm_storeu_ps(p, x); }
  static void AddFour(float* p, Four x) { _mm_storeu_ps(p, _mm_add_ps(_mm_loadu_ps(p), x)); }

 private:
  // The lower half of each and its upper half.
  static Type AddHalves(Type a, Type b) {
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xEE));
  }
};

#include "backends/cpu/simd/float_types.inc"

}  // namespace bantam::cpu::avx512

BANTAM_AVX512_END
