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
  using Four = __m128;
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
  static Type Mul(Type a, Type b) { return _mm512_mul_ps(a, b); }
  static Type Fma(Type a, Type b, Type c) { return _mm512_fmadd_ps(a, b, c); }
  static Four Totals(Type a, Type b, Type c, Type d) {
    const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    // Each quarter has a part of all four, a and b in turn, then c and d.
    const __m512 s =
        _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xEE));
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(s), _mm512_extractf32x8_ps(s, 1));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  }
  static void StoreFour(float* p, Four x) { _mm_storeu_ps(p, x); }
  static void AddFour(float* p, Four x) { _mm_storeu_ps(p, _mm_add_ps(_mm_loadu_ps(p), x)); }
};

}  // namespace

// Both stand within the pragma of this file and include nothing themselves.
#include "backends/cpu/simd/accumulate.inc"
#include "backends/cpu/simd/dot.inc"

}  // namespace bantam::cpu::avx512

BANTAM_AVX512_END
