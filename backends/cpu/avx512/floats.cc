// The kernels over registers of f32 that every set compiles from one source.

#include <immintrin.h>

#include <array>
#include <cstring>
#include <utility>

#include "backends/cpu/avx512/isa.h"
#include "backends/cpu/avx512/set.h"

BANTAM_AVX512_BEGIN

namespace bantam::cpu::avx512 {
namespace {

struct V {
  using Type = __m512;
  static constexpr int kWidth = 16;
  static Type Zero() { return _mm512_setzero_ps(); }
  static Type Set1(float x) { return _mm512_set1_ps(x); }
  static Type Load(const float* p) { return _mm512_loadu_ps(p); }
  static Type LoadHalves(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static Type LoadBrains(const uint8_t* p) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
  static void Store(float* p, Type x) { _mm512_storeu_ps(p, x); }
  static Type Mul(Type a, Type b) { return _mm512_mul_ps(a, b); }
  static Type Fma(Type a, Type b, Type c) { return _mm512_fmadd_ps(a, b, c); }
};

inline __m256 Halved(__m512 a) {
  return _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
}
inline __m128 Totals(__m512 a, __m512 b, __m512 c, __m512 d) {
  const __m256 s =
      _mm256_hadd_ps(_mm256_hadd_ps(Halved(a), Halved(b)), _mm256_hadd_ps(Halved(c), Halved(d)));
  return _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
}

}  // namespace

// Both stand within the pragma of this file and include nothing themselves.
#include "backends/cpu/simd/accumulate.inc"
#include "backends/cpu/simd/dot.inc"

}  // namespace bantam::cpu::avx512

BANTAM_AVX512_END
