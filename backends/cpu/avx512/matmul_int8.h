// What the integer products of AVX-512 have in common, however the weights lie.
#pragma once

#include <immintrin.h>

#include "backends/cpu/avx512/isa.h"
#include "backends/cpu/avx512/set.h"

BANTAM_AVX512_BEGIN

namespace bantam::cpu::avx512 {

using Panel = simd::Panel<Isa>;

inline constexpr int kGroups = Isa::kPanelRows / 16;  // registers across a panel

// One step of the outer sum. The bias has been taken off the products.
template <bool kHasMin>
inline __m512 AddGroup(__m512 sum, __m512i products, __m512 scale, __m512 min, float d,
                       float total) {
  sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(products), _mm512_mul_ps(scale, _mm512_set1_ps(d)), sum);
  if constexpr (kHasMin) sum = _mm512_fmadd_ps(min, _mm512_set1_ps(total), sum);
  return sum;
}

// Groups of 16: the products of half a run, by the weights' scales alone ...
template <bool kHasMin>
inline __m512 HalfRun(__m512i products, __m512 scale, __m512 min, int32_t x_sum) {
  const __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(products), scale);
  if constexpr (!kHasMin) return scaled;
  return _mm512_fmadd_ps(min, _mm512_set1_ps(static_cast<float>(x_sum)), scaled);
}
// ... and those of its other half, and the step of the outer sum for both, which is the
// multiplication by the activations' scale: one less than by a step for each.
template <bool kHasMin>
inline __m512 AddHalves(__m512 sum, __m512 first, __m512i products, __m512 scale, __m512 min,
                        int32_t x_sum, float d) {
  __m512 both = _mm512_fmadd_ps(_mm512_cvtepi32_ps(products), scale, first);
  if constexpr (kHasMin) {
    both = _mm512_fmadd_ps(min, _mm512_set1_ps(static_cast<float>(x_sum)), both);
  }
  return _mm512_fmadd_ps(both, _mm512_set1_ps(d), sum);
}

}  // namespace bantam::cpu::avx512

BANTAM_AVX512_END
