// Products in fixed point with VNNI: two products of 16 bits are added to each lane at once.

#include "backends/cpu/simd/matmul_fixed.h"

#include <immintrin.h>

#include <array>
#include <cstring>
#include <utility>

#include "backends/cpu/avx512/isa.h"
#include "backends/cpu/avx512/set.h"
#include "backends/cpu/avx512/unpack.h"
#include "backends/cpu/avx512/vectors.h"

BANTAM_AVX512_BEGIN

namespace bantam::cpu::avx512 {
namespace {

struct Pairs {
  using Type = __m512i;
  static Type Zero() { return _mm512_setzero_si512(); }
  static Type Load(const int16_t* p) { return _mm512_load_si512(p); }
  static void Store(int16_t* p, Type x) { _mm512_store_si512(p, x); }
  static Type Each(const int16_t* p) {
    int32_t two;
    std::memcpy(&two, p, sizeof(two));
    Type x = _mm512_set1_epi32(two);
    asm("" : "+v"(x));  // loaded once, not by each instruction that uses it
    return x;
  }
  static Type AddDots(Type sum, Type w, Type x) { return _mm512_dpwssd_epi32(sum, w, x); }
  static Type Magnitude(V::Type x) {
    return _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7FFFFFFF));
  }
  static Type Most(Type a, Type b) { return _mm512_max_epu32(a, b); }
  static V::Type ToFloat(Type x) { return _mm512_cvtepi32_ps(x); }
  static V::Type AsFloat(Type x) { return _mm512_castsi512_ps(x); }
  static Type Round(V::Type a, V::Type b) {
    return _mm512_packs_epi32(_mm512_cvtps_epi32(a), _mm512_cvtps_epi32(b));
  }
  static void Transpose(Type v[16]) { TransposeRows(v); }
};

}  // namespace

#include "backends/cpu/simd/matmul_fixed.inc"
}  // namespace bantam::cpu::avx512

BANTAM_AVX512_END
