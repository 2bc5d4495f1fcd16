// The rest of unpack.h: types whose quants are looked up in a codebook, ternary ones, and NVFP4.
//
// Points of a codebook are fetched one by one into a register; their signs are put on all at once,
// and a bias makes the bytes unsigned.
#pragma once

#include "backends/cpu/avx2/codebooks.h"
#include "backends/cpu/avx2/unpack.h"

BANTAM_AVX2_BEGIN

namespace bantam::cpu::avx2 {

inline __m128i TwoWords(const uint64_t* first, const uint64_t* second) {
  return _mm_castps_si128(
      _mm_loadh_pi(_mm_castsi128_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(first))),
                   reinterpret_cast<const __m64*>(second)));
}

// 32 elements: four points of eight, or eight of four.
template <typename Table>
inline __m256i FourPoints(const Table& points, uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
  return _mm256_set_m128i(TwoWords(&points[c], &points[d]), TwoWords(&points[a], &points[b]));
}
template <typename Table>
inline __m256i EightPoints(const Table& points, const uint16_t* index) {
  int32_t p[8];
  for (int i = 0; i < 8; ++i) p[i] = static_cast<int32_t>(points[index[i]]);
  return _mm256_setr_epi32(p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]);
}

// Negates the bytes whose bit of `signs` is set, of which a byte belongs to each eight.
inline __m256i WithSigns(__m256i quants, __m256i signs, int64_t bits) {
  const __m256i bit = _mm256_set1_epi64x(bits);
  const __m256i negative = _mm256_cmpeq_epi8(_mm256_and_si256(signs, bit), bit);
  return _mm256_sign_epi8(quants, _mm256_or_si256(negative, Bytes(1)));
}
// Four bytes of signs, the lowest bit the first.
inline __m256i WithSigns(__m256i quants, uint32_t signs) {
  const __m256i spread =
      _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
  return WithSigns(quants,
                   _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int32_t>(signs)), spread),
                   static_cast<int64_t>(0x8040201008040201));
}
// Seven signs in the upper bits of a byte, copied to all eight bytes of their group. The eighth
// sign makes the number of minus signs even: it takes the place of the lowest bit.
inline __m256i WithSevenSigns(__m256i quants, __m256i signs) {
  // The parity of the whole byte, by nibbles: its lowest bit is in there and so flips itself away.
  const __m256i parity =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 0, 1, 0, 1, 1, 0));
  const __m256i both = _mm256_xor_si256(signs, _mm256_srli_epi16(signs, 4));
  const __m256i flip = _mm256_shuffle_epi8(parity, _mm256_and_si256(both, Bytes(15)));
  return WithSigns(quants, _mm256_xor_si256(signs, flip), 0x0180402010080402);
}
// Seven signs each from bits 0, 7, 14 and 21 up.
inline __m256i WithSevenSigns(__m256i quants, uint32_t signs) {
  const __m256i moved = _mm256_srlv_epi64(_mm256_set1_epi64x(static_cast<int64_t>(signs) << 1),
                                          _mm256_setr_epi64x(0, 7, 14, 21));
  const __m256i spread = _mm256_setr_epi64x(0, 0x0808080808080808, 0, 0x0808080808080808);
  return WithSevenSigns(quants, _mm256_shuffle_epi8(moved, spread));
}

// d * (offset + step * scale) of eight scales.
inline __m256 ScalesOf(__m256i scales, float d, float offset, float step) {
  return _mm256_mul_ps(_mm256_set1_ps(d), _mm256_add_ps(_mm256_set1_ps(offset),
                                                        _mm256_mul_ps(_mm256_cvtepi32_ps(scales),
                                                                      _mm256_set1_ps(step))));
}
// The scales of types with 16 nibbles at the end of a block, the lower of a byte first:
// d (1/2 + nibble) / 4.
template <typename Block>
inline void NibbleScales(const uint8_t* const* rows, int64_t at, float* scale) {
  static_assert(offsetof(Block, scales) + 8 == sizeof(Block));
  __m256i word[4];
  WordsOf<8>(rows, at + offsetof(Block, scales) - 8, word);
  const __m256 eighth =
      _mm256_mul_ps(HalvesOf(rows, at + offsetof(Block, d)), _mm256_set1_ps(0.125f));
  for (int g = 0; g < 16; ++g) {
    // 1 + 2 nibble
    const __m256i twice = g % 8 == 0 ? BitsOf(_mm256_slli_epi32(word[g / 8], 1), 0, 30)
                                     : BitsOf(word[g / 8], 4 * (g % 8) - 1, 30);
    StoreProducts(eighth, _mm256_or_si256(twice, _mm256_set1_epi32(1)), scale + g * kLanes);
  }
}

template <>
struct Unpack<quant::BlockIQ2_XXS> : UnpackSuper<quant::BlockIQ2_XXS, 86, 43, 32> {
  static __m256i Run(const uint8_t* p, int run) {
    const uint8_t* at = p + offsetof(quant::BlockIQ2_XXS, runs) + 8 * run;
    const __m256i points = FourPoints(kPointsIQ2_XXS, at[0], at[1], at[2], at[3]);
    return _mm256_add_epi8(WithSevenSigns(points, LoadAs<uint32_t>(at + 4)), Bytes(kBias));
  }
  static void RowScales(const uint8_t* p, __m256* scale, __m256*) {
    const uint8_t* runs = p + offsetof(quant::BlockIQ2_XXS, runs);
    const __m256 odd = _mm256_shuffle_ps(_mm256_castsi256_ps(Load32(runs)),
                                         _mm256_castsi256_ps(Load32(runs + 32)), 0xDD);
    const __m256i words = _mm256_permute4x64_epi64(_mm256_castps_si256(odd), 0xD8);
    *scale = ScalesOf(_mm256_srli_epi32(words, 28), HalfAt(p), 0.125f, 0.25f);
  }
  static void Scales(const uint8_t* const* rows, int64_t at, float* scale, float* min) {
    SuperScales<Unpack>(rows, at, scale, min);
  }
};
template <>
struct Unpack<quant::BlockIQ2_XS> : UnpackSuper<quant::BlockIQ2_XS, 86, 43, 16> {
  static __m256i Run(const uint8_t* p, int run) {
    const auto words = LoadAs<uint64_t>(p + offsetof(quant::BlockIQ2_XS, qs) + 8 * run);
    const __m256i points = FourPoints(kPointsIQ2_XS, words & 511, words >> 16 & 511,
                                      words >> 32 & 511, words >> 48 & 511);
    const __m256i spread = _mm256_setr_epi64x(0x0101010101010101, 0x0303030303030303,
                                              0x0505050505050505, 0x0707070707070707);
    const __m256i signs =
        _mm256_shuffle_epi8(_mm256_set1_epi64x(static_cast<int64_t>(words)), spread);
    return _mm256_add_epi8(WithSevenSigns(points, signs), Bytes(kBias));
  }
  static void Scales(const uint8_t* const* rows, int64_t at, float* scale, float*) {
    NibbleScales<quant::BlockIQ2_XS>(rows, at, scale);
  }
};
template <>
struct Unpack<quant::BlockIQ2_S> : UnpackSuper<quant::BlockIQ2_S, 86, 43, 16> {
  static __m256i Run(const uint8_t* p, int run) {
    using Block = quant::BlockIQ2_S;
    const uint8_t* low = p + offsetof(Block, qs) + 4 * run;
    const uint32_t high = p[offsetof(Block, qh) + run];
    const __m256i points =
        FourPoints(kPointsIQ2_S, low[0] | (high << 8 & 0x300), low[1] | (high << 6 & 0x300),
                   low[2] | (high << 4 & 0x300), low[3] | (high << 2 & 0x300));
    return _mm256_add_epi8(
        WithSigns(points, LoadAs<uint32_t>(p + offsetof(Block, signs) + 4 * run)), Bytes(kBias));
  }
  static void Scales(const uint8_t* const* rows, int64_t at, float* scale, float*) {
    NibbleScales<quant::BlockIQ2_S>(rows, at, scale);
  }
};
template <>
struct Unpack<quant::BlockIQ3_XXS> : UnpackSuper<quant::BlockIQ3_XXS, 124, 62, 32> {
  static __m256i Run(const uint8_t* p, int run) {
    using Block = quant::BlockIQ3_XXS;
    const uint8_t* at = p + offsetof(Block, qs) + 8 * run;
    const uint16_t index[8] = {at[0], at[1], at[2], at[3], at[4], at[5], at[6], at[7]};
    const auto signs = LoadAs<uint32_t>(p + offsetof(Block, signs_scale) + 4 * run);
    return _mm256_add_epi8(WithSevenSigns(EightPoints(kPointsIQ3_XXS, index), signs), Bytes(kBias));
  }
  static void RowScales(const uint8_t* p, __m256* scale, __m256*) {
    const __m256i words = Load32(p + offsetof(quant::BlockIQ3_XXS, signs_scale));
    *scale = ScalesOf(_mm256_srli_epi32(words, 28), HalfAt(p), 0.25f, 0.5f);
  }
  static void Scales(const uint8_t* const* rows, int64_t at, float* scale, float* min) {
    SuperScales<Unpack>(rows, at, scale, min);
  }
};
template <>
struct Unpack<quant::BlockIQ3_S> : UnpackSuper<quant::BlockIQ3_S, 30, 15, 32> {
  static __m256i Run(const uint8_t* p, int run) {
    using Block = quant::BlockIQ3_S;
    const uint8_t* low = p + offsetof(Block, qs) + 8 * run;
    // The ninth bit of each index from its place in qh.
    const __m128i bit = _mm_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128);
    const __m128i high = _mm_and_si128(_mm_set1_epi16(p[offsetof(Block, qh) + run]), bit);
    const __m128i ninth = _mm_and_si128(_mm_cmpeq_epi16(high, bit), _mm_set1_epi16(0x100));
    const __m128i bytes = _mm_cvtepu8_epi16(_mm_cvtsi64_si128(LoadAs<int64_t>(low)));
    const __m128i both = _mm_or_si128(bytes, ninth);
    const auto low_half = static_cast<uint64_t>(_mm_cvtsi128_si64(both));
    const auto high_half = static_cast<uint64_t>(_mm_extract_epi64(both, 1));
    uint16_t index[8];
    for (int i = 0; i < 4; ++i) {
      index[i] = static_cast<uint16_t>(low_half >> 16 * i);
      index[i + 4] = static_cast<uint16_t>(high_half >> 16 * i);
    }
    return _mm256_add_epi8(WithSigns(EightPoints(kPointsIQ3_S, index),
                                     LoadAs<uint32_t>(p + offsetof(Block, signs) + 4 * run)),
                           Bytes(kBias));
  }
  static void Scales(const uint8_t* const* rows, int64_t at, float* scale, float*) {
    using Block = quant::BlockIQ3_S;
    static_assert(offsetof(Block, scales) + 4 == sizeof(Block));
    __m256i word[4];
    WordsOf<12>(rows, at + offsetof(Block, scales) - 12, word);
    const __m256 d = HalvesOf(rows, at + offsetof(Block, d));
    for (int g = 0; g < 8; ++g) {
      // 1 + 2 nibble
      const __m256i twice =
          g == 0 ? BitsOf(_mm256_slli_epi32(word[0], 1), 0, 30) : BitsOf(word[0], 4 * g - 1, 30);
      StoreProducts(d, _mm256_or_si256(twice, _mm256_set1_epi32(1)), scale + g * kLanes);
    }
  }
};
template <>
struct Unpack<quant::BlockIQ1_S> : UnpackSuper<quant::BlockIQ1_S, 18, 9, 32> {
  static __m256i Run(const uint8_t* p, int run) {
    const uint8_t* low = p + offsetof(quant::BlockIQ1_S, qs) + 4 * run;
    const uint32_t high = LoadAs<uint16_t>(p + offsetof(quant::BlockIQ1_S, qh) + 2 * run);
    const __m256i points =
        FourPoints(kPointsIQ1, low[0] | (high << 8 & 0x700), low[1] | (high << 5 & 0x700),
                   low[2] | (high << 2 & 0x700), low[3] | (high >> 1 & 0x700));
    return _mm256_sub_epi8(points, Bytes(static_cast<int>(high >> 15 << 1)));
  }
  static void RowScales(const uint8_t* p, __m256* scale, __m256*) {
    const __m128i words =
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + offsetof(quant::BlockIQ1_S, qh)));
    const __m256i scales =
        _mm256_and_si256(_mm256_srli_epi32(_mm256_cvtepu16_epi32(words), 12), _mm256_set1_epi32(7));
    *scale = ScalesOf(scales, HalfAt(p), 0.125f, 0.25f);
  }
  static void Scales(const uint8_t* const* rows, int64_t at, float* scale, float* min) {
    SuperScales<Unpack>(rows, at, scale, min);
  }
};
template <>
struct Unpack<quant::BlockIQ1_M> : UnpackSuper<quant::BlockIQ1_M, 18, 9, 16> {
  static __m256i Run(const uint8_t* p, int run) {
    const uint8_t* low = p + offsetof(quant::BlockIQ1_M, qs) + 4 * run;
    const uint32_t high = LoadAs<uint16_t>(p + offsetof(quant::BlockIQ1_M, qh) + 2 * run);
    const __m256i points =
        FourPoints(kPointsIQ1, low[0] | (high << 8 & 0x700), low[1] | (high << 4 & 0x700),
                   low[2] | (high & 0x700), low[3] | (high >> 4 & 0x700));
    // Bits 3, 7, 11 and 15 move a group down.
    const __m256i down = _mm256_and_si256(
        _mm256_srlv_epi64(_mm256_set1_epi64x(high), _mm256_setr_epi64x(2, 6, 10, 14)),
        _mm256_set1_epi64x(2));
    const __m256i spread = _mm256_setr_epi64x(0, 0x0808080808080808, 0, 0x0808080808080808);
    return _mm256_sub_epi8(points, _mm256_shuffle_epi8(down, spread));
  }
  static void RowScales(const uint8_t* p, __m256* scale, __m256*) {
    const auto words = LoadAs<uint64_t>(p + offsetof(quant::BlockIQ1_M, scales));
    const uint64_t d =
        (words >> 12 & 0xF) | (words >> 24 & 0xF0) | (words >> 36 & 0xF00) | (words >> 48 & 0xF000);
    const float factor = _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(static_cast<int32_t>(d))));
    const __m256i shifts = _mm256_setr_epi32(0, 3, 6, 9, 16, 19, 22, 25);
    for (int v = 0; v < 2; ++v) {
      const __m256i two = _mm256_set1_epi32(static_cast<int32_t>(words >> 32 * v));
      scale[v] = ScalesOf(_mm256_and_si256(_mm256_srlv_epi32(two, shifts), _mm256_set1_epi32(7)),
                          factor, 0.125f, 0.25f);
    }
  }
  static void Scales(const uint8_t* const* rows, int64_t at, float* scale, float* min) {
    SuperScales<Unpack>(rows, at, scale, min);
  }
};

template <>
struct Unpack<quant::BlockTQ1_0> {
  static constexpr int kMost = 2, kBias = 1, kGroup = 32;
  static constexpr bool kHasMin = false;
  static __m256i Run(const uint8_t* p, int run) {
    using Block = quant::BlockTQ1_0;
    const uint8_t* qs = p + offsetof(Block, qs);
    // The power of 3 that moves a digit to the top of each byte; two bytes have one.
    __m256i bytes, power;
    if (run < 5) {
      constexpr int16_t kPowers[] = {1, 3, 9, 27, 81};
      bytes = Load32(qs);
      power = _mm256_set1_epi16(kPowers[run]);
    } else {
      const __m128i rest = _mm_loadu_si128(reinterpret_cast<const __m128i*>(qs + 32));
      const __m128i last = _mm_set1_epi32(LoadAs<int32_t>(p + offsetof(Block, qh)));
      bytes = _mm256_set_m128i(run == 7 ? last : rest, rest);
      const __m128i of_last = _mm_setr_epi16(1, 1, 3, 3, 9, 9, 27, 27);
      power = run == 5   ? _mm256_set_m128i(_mm_set1_epi16(3), _mm_set1_epi16(1))
              : run == 6 ? _mm256_set_m128i(_mm_set1_epi16(27), _mm_set1_epi16(9))
                         : _mm256_set_m128i(of_last, _mm_set1_epi16(81));
    }
    const __m256i low = _mm256_set1_epi16(255);
    const __m256i even = _mm256_and_si256(_mm256_mullo_epi16(bytes, power), low);
    const __m256i odd = _mm256_mullo_epi16(_mm256_andnot_si256(low, bytes), power);
    const __m256i x = _mm256_or_si256(even, odd);
    // The digit is 3 x / 256: at least 1 from 86 on, 2 from 171 on.
    const __m256i one = _mm256_cmpeq_epi8(_mm256_max_epu8(x, Bytes(86)), x);
    const __m256i two = _mm256_cmpeq_epi8(_mm256_max_epu8(x, Bytes(171)), x);
    return _mm256_abs_epi8(_mm256_add_epi8(one, two));
  }
  static void Scales(const uint8_t* const* rows, int64_t at, float* scale, float*) {
    const __m256 d = HalvesOf(rows, at + offsetof(quant::BlockTQ1_0, d));
    for (int run = 0; run < 8; ++run) _mm256_storeu_ps(scale + run * kLanes, d);
  }
};

template <>
struct Unpack<quant::BlockNVFP4> : Runs<quant::BlockNVFP4> {
  static constexpr int kMost = 28, kBias = 16, kGroup = 16;
  static constexpr bool kHasMin = false;
  static void Scales(const uint8_t* const* rows, int64_t at, float* scale, float*) {
    for (int r = 0; r < kLanes; ++r) {
      for (int g = 0; g < 4; ++g) {
        scale[g * kLanes + r] = quant::HalfOfUE4M3ToFloat(rows[r][at + g]);
      }
    }
  }
};

}  // namespace bantam::cpu::avx2

BANTAM_AVX2_END
