// Products in fixed point with AVX-VNNI: two products of 16 bits are added to each lane at once.

#include "backends/cpu/simd/matmul_fixed.h"

#include <immintrin.h>

#include <array>
#include <cstring>
#include <type_traits>
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
  static V::Type ToFloat(Type x) { return _mm256_cvtepi32_ps(x); }
  static Type ToIntegers(V::Type x) { return _mm256_cvtps_epi32(x); }
  static V::Type AsFloat(Type x) { return _mm256_castsi256_ps(x); }
  static Type FromFloat(V::Type x) { return _mm256_castps_si256(x); }
  static V::Type PowerOf(V::Type x) {
    return AsFloat(_mm256_and_si256(FromFloat(x), _mm256_set1_epi32(0x7F800000)));
  }
  static Type Join(Type a, Type b) { return _mm256_blend_epi16(a, _mm256_slli_epi32(b, 16), 0xAA); }
  template <int kBits>
  static Type Magnitudes(const uint8_t* p) {
    return _mm256_and_si256(Load32(p), _mm256_set1_epi32(kBits == 16 ? 0x7FFF7FFF : 0x7FFFFFFF));
  }
  template <int kBits>
  static Type Most(Type a, Type b) {
    return kBits == 16 ? _mm256_max_epu16(a, b) : _mm256_max_epu32(a, b);
  }
  template <int kBits>
  static Type MostOfRows(Type v[8]) {
    for (int i = 0; i < 4; ++i) {
      v[i] = Most<kBits>(_mm256_unpacklo_epi32(v[2 * i], v[2 * i + 1]),
                         _mm256_unpackhi_epi32(v[2 * i], v[2 * i + 1]));
    }
    for (int i = 0; i < 2; ++i) {
      v[i] = Most<kBits>(_mm256_unpacklo_epi64(v[2 * i], v[2 * i + 1]),
                         _mm256_unpackhi_epi64(v[2 * i], v[2 * i + 1]));
    }
    const Type most = Most<kBits>(_mm256_permute2x128_si256(v[0], v[1], 0x20),
                                  _mm256_permute2x128_si256(v[0], v[1], 0x31));
    return kBits == 16 ? Most<16>(most, _mm256_srli_epi32(most, 16)) : most;
  }
  static void StoreHalves(uint16_t* p, Type x) {
    const __m256i low = _mm256_and_si256(x, _mm256_set1_epi32(0xFFFF));
    _mm_storeu_si128(
        reinterpret_cast<__m128i*>(p),
        _mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1)));
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
