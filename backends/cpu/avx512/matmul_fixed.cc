// Products in fixed point with VNNI: two products of 16 bits are added to each lane at once.

#include "backends/cpu/simd/matmul_fixed.h"

#include <immintrin.h>

#include <array>
#include <cstring>
#include <type_traits>
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
  static V::Type ToFloat(Type x) { return _mm512_cvtepi32_ps(x); }
  static Type ToIntegers(V::Type x) { return _mm512_cvtps_epi32(x); }
  static V::Type AsFloat(Type x) { return _mm512_castsi512_ps(x); }
  static Type FromFloat(V::Type x) { return _mm512_castps_si512(x); }
  static V::Type PowerOf(V::Type x) {
    return AsFloat(_mm512_and_si512(FromFloat(x), _mm512_set1_epi32(0x7F800000)));
  }
  static Type Join(Type a, Type b) {
    return _mm512_mask_blend_epi16(0xAAAAAAAA, a, _mm512_slli_epi32(b, 16));
  }
  template <int kBits>
  static Type Magnitudes(const uint8_t* p) {
    return _mm512_and_si512(_mm512_loadu_si512(p),
                            _mm512_set1_epi32(kBits == 16 ? 0x7FFF7FFF : 0x7FFFFFFF));
  }
  template <int kBits>
  static Type Most(Type a, Type b) {
    return kBits == 16 ? _mm512_max_epu16(a, b) : _mm512_max_epu32(a, b);
  }
  template <int kBits>
  static Type MostOfRows(Type v[16]) {
    for (int i = 0; i < 8; ++i) {
      v[i] = Most<kBits>(_mm512_unpacklo_epi32(v[2 * i], v[2 * i + 1]),
                         _mm512_unpackhi_epi32(v[2 * i], v[2 * i + 1]));
    }
    for (int i = 0; i < 4; ++i) {
      v[i] = Most<kBits>(_mm512_unpacklo_epi64(v[2 * i], v[2 * i + 1]),
                         _mm512_unpackhi_epi64(v[2 * i], v[2 * i + 1]));
    }
    for (int i = 0; i < 2; ++i) {
      v[i] = Most<kBits>(_mm512_shuffle_i64x2(v[2 * i], v[2 * i + 1], 0x44),
                         _mm512_shuffle_i64x2(v[2 * i], v[2 * i + 1], 0xEE));
    }
    const Type most = Most<kBits>(_mm512_shuffle_i64x2(v[0], v[1], 0x88),
                                  _mm512_shuffle_i64x2(v[0], v[1], 0xDD));
    return kBits == 16 ? Most<16>(most, _mm512_srli_epi32(most, 16)) : most;
  }
  static void StoreHalves(uint16_t* p, Type x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(x));
  }
  static void Transpose(Type v[16]) { TransposeRows(v); }
};

}  // namespace

#include "backends/cpu/simd/matmul_fixed.inc"
}  // namespace bantam::cpu::avx512

BANTAM_AVX512_END
