// Products in fixed point with AVX-VNNI: two products of 16 bits are added to each lane at once.

#include "backends/cpu/simd/matmul_fixed.h"

#include <immintrin.h>

#include <array>
#include <cstring>
#include <utility>

#include "backends/cpu/avx2/unpack.h"
#include "backends/cpu/avx2/vectors.h"
#include "backends/cpu/avxvnni/isa.h"
#include "backends/cpu/avxvnni/set.h"

BANTAM_AVXVNNI_BEGIN

namespace bantam::cpu::avxvnni {
namespace {

using namespace avx2;

struct Pairs {
  using Type = __m256i;
  static Type Zero() { return _mm256_setzero_si256(); }
  static Type Load(const int16_t* p) {
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
  }
  static void Store(int16_t* p, Type x) { _mm256_store_si256(reinterpret_cast<__m256i*>(p), x); }
  static Type Each(const int16_t* p) {
    int32_t two;
    std::memcpy(&two, p, sizeof(two));
    return _mm256_set1_epi32(two);
  }
  static Type AddDots(Type sum, Type w, Type x) { return _mm256_dpwssd_avx_epi32(sum, w, x); }
  static Type Magnitude(V::Type x) {
    return _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(0x7FFFFFFF));
  }
  static Type Most(Type a, Type b) { return _mm256_max_epu32(a, b); }
  static V::Type ToFloat(Type x) { return _mm256_cvtepi32_ps(x); }
  static V::Type AsFloat(Type x) { return _mm256_castsi256_ps(x); }
  static Type Round(V::Type a, V::Type b) {
    return _mm256_packs_epi32(_mm256_cvtps_epi32(a), _mm256_cvtps_epi32(b));
  }
  static void Transpose(Type v[8]) {
    V::Type rows[8];
    for (int i = 0; i < 8; ++i) rows[i] = AsFloat(v[i]);
    avx2::Transpose(rows);
    for (int i = 0; i < 8; ++i) v[i] = _mm256_castps_si256(rows[i]);
  }
};

}  // namespace

#include "backends/cpu/simd/matmul_fixed.inc"
}  // namespace bantam::cpu::avxvnni

BANTAM_AVXVNNI_END
