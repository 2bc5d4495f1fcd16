// The kernels over registers of f32 that every set compiles from one source.

#include <immintrin.h>

#include <array>
#include <cstring>
#include <utility>

#include "backends/cpu/avx2/isa.h"
#include "backends/cpu/avx2/set.h"

BANTAM_AVX2_BEGIN

namespace bantam::cpu::avx2 {
namespace {

struct V {
  using Type = __m256;
  static constexpr int kWidth = 8;
  static Type Zero() { return _mm256_setzero_ps(); }
  static Type Set1(float x) { return _mm256_set1_ps(x); }
  static Type Load(const float* p) { return _mm256_loadu_ps(p); }
  static Type LoadHalves(const uint16_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static Type LoadBrains(const uint8_t* p) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
  static void Store(float* p, Type x) { _mm256_storeu_ps(p, x); }
  static Type Mul(Type a, Type b) { return _mm256_mul_ps(a, b); }
  static Type Fma(Type a, Type b, Type c) { return _mm256_fmadd_ps(a, b, c); }
};

inline __m128 Totals(__m256 a, __m256 b, __m256 c, __m256 d) {
  const __m256 s = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
  return _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
}

}  // namespace

// Both stand within the pragma of this file and include nothing themselves.
#include "backends/cpu/simd/accumulate.inc"
#include "backends/cpu/simd/dot.inc"

}  // namespace bantam::cpu::avx2

BANTAM_AVX2_END
