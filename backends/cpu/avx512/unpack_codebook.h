// The rest of unpack.h: types whose quants are looked up in a codebook.
//
// A point is 16 bits: eight elements of 2 bits (IQ1, IQ2) or four of 4 (IQ3). Their bytes come from
// tables in registers, for 64 indices at once (vpermi2b finds one of 128 bytes; the upper bits of
// an index choose between the registers). So a whole block of a pair of rows is looked up before
// its runs are spread to bytes. What is kept of a block is in order of the runs, and within a run
// the lower row's before the upper row's.
#pragma once

#include "backends/cpu/avx512/codebooks.h"
#include "backends/cpu/avx512/unpack.h"

BANTAM_AVX512_BEGIN

namespace bantam::cpu::avx512 {

// 64 indices; the bits of an index above its lowest seven, lowest
// first.
template <int kPoints>
struct Indices {
  static constexpr int kHighBits = kPoints == 256    ? 1
                                   : kPoints == 512  ? 2
                                   : kPoints == 1024 ? 3
                                                     : 4;
  __m512i low;
  __mmask64 high[kHighBits];
};

template <int kPoints>
inline __m512i LookUpBytes(const uint8_t* table, __m512i low, const __mmask64* high) {
  if constexpr (kPoints == 128) {
    return _mm512_permutex2var_epi8(_mm512_load_si512(table), low, _mm512_load_si512(table + 64));
  } else {
    constexpr int kHalf = kPoints / 2, kBit = Indices<kPoints>::kHighBits - 1;
    return _mm512_mask_blend_epi8(high[kBit], LookUpBytes<kHalf>(table, low, high),
                                  LookUpBytes<kHalf>(table + kHalf, low, high));
  }
}
template <int kPoints>
inline void LookUpPoints(const Codebook<kPoints>& book, const Indices<kPoints>& index,
                         uint8_t* words) {
  const __m512i low = LookUpBytes<kPoints>(book.low.data(), index.low, index.high);
  const __m512i high = LookUpBytes<kPoints>(book.high.data(), index.low, index.high);
  // Quarter q of the two is words 16q up and 16q + 8 up.
  _mm512_store_si512(words, _mm512_unpacklo_epi8(low, high));
  _mm512_store_si512(words + 64, _mm512_unpackhi_epi8(low, high));
}
// Where LookUpPoints puts eight words.
inline const uint8_t* EightWords(const uint8_t* words, int eight) {
  return words + eight / 2 * 16 + eight % 2 * 64;
}

// Four bytes of the lower row, four of the upper, and so on.
inline __m512i Interleaved(__m512i rows) {
  const __m512i order = _mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
  return _mm512_permutexvar_epi32(order, rows);
}
inline __m512i CompleteSigns(__m512i seven) {
  return LookUpBytes<128>(kSigns.signs.data(), seven, nullptr);
}
// Seven signs from bits 0, 7, 14 and 21 of each word of 32 bits.
inline __m512i SevenSigns(__m512i words) {
  return _mm512_multishift_epi64_epi8(_mm512_set1_epi64(0x352E2720150E0700), words);
}
inline __m512i Load64(const uint8_t* p) { return _mm512_loadu_si512(p); }

// The elements of a point, by type: what becomes of its fields without a sign and with one.
struct alignas(64) Levels {
  uint8_t plus[64], minus[64];
};
template <size_t kFields>
constexpr Levels LevelsFrom(const uint8_t (&plus)[kFields], const uint8_t (&minus)[kFields]) {
  Levels levels{};
  for (size_t i = 0; i < 64; ++i) {
    levels.plus[i] = plus[i % kFields];
    levels.minus[i] = minus[i % kFields];
  }
  return levels;
}
template <size_t kFields>
constexpr Levels SignedLevels(int bias, const int (&level)[kFields]) {
  uint8_t plus[kFields] = {}, minus[kFields] = {};
  for (size_t i = 0; i < kFields; ++i) {
    plus[i] = static_cast<uint8_t>(bias + level[i]);
    minus[i] = static_cast<uint8_t>(bias - level[i]);
  }
  return LevelsFrom(plus, minus);
}
inline constexpr Levels kLevelsIQ2 = SignedLevels(43, {8, 25, 43, 0});
inline constexpr Levels kLevelsIQ3_XXS = SignedLevels(62, {4, 12, 20, 28, 36, 44, 52, 62});
inline constexpr Levels kLevelsIQ3_S = SignedLevels(15, {1, 3, 5, 7, 9, 11, 13, 15});
// "Minus" is a point shifted down (avx2/codebooks.h).
inline constexpr Levels kLevelsIQ1 = LevelsFrom({2, 10, 18, 0}, {0, 8, 16, 0});

// The bits of a field above the type's are of its neighbours: vpermb takes the lowest six, and the
// levels are repeated for all that there can be in those.
inline __m512i LevelsOf(const Levels& levels, __m512i fields, __mmask64 minus) {
  const __m512i plus = _mm512_permutexvar_epi8(fields, Load64(levels.plus));
  return _mm512_mask_permutexvar_epi8(plus, minus, fields, Load64(levels.minus));
}

// How a type gives its indices and signs: Read(rows, pair).
template <typename Block>
struct Codes;

// A block of two rows: 8 runs of 4 points each.
struct PairOf8 {
  alignas(64) uint8_t words[128];
  alignas(64) uint64_t signs[8];

  __m512i Fields(int run) const {
    const __m512i points = _mm512_cvtepu16_epi64(
        _mm_load_si128(reinterpret_cast<const __m128i*>(EightWords(words, run))));
    return _mm512_multishift_epi64_epi8(_mm512_set1_epi64(0x0E0C0A0806040200), points);
  }
};
// A block of two rows: 8 runs of 8 points each, row by row.
struct PairOf4 {
  alignas(64) uint8_t words[2][128];
  alignas(64) uint64_t signs[8];

  __m512i Fields(int run) const {
    const __m256i both = _mm256_inserti128_si256(
        _mm256_castsi128_si256(
            _mm_load_si128(reinterpret_cast<const __m128i*>(EightWords(words[0], run)))),
        _mm_load_si128(reinterpret_cast<const __m128i*>(EightWords(words[1], run))), 1);
    return _mm512_multishift_epi64_epi8(_mm512_set1_epi64(0x1C1814100C080400),
                                        _mm512_cvtepu32_epi64(both));
  }
};

template <>
struct Codes<quant::BlockIQ2_XXS> : PairOf8 {
  static constexpr const Levels& kLevels = kLevelsIQ2;
  void Read(TwoRows p) {
    p = p + offsetof(quant::BlockIQ2_XXS, runs);
    const __m512i low = Load64(p.low), high = Load64(p.high);
    const __m512i even =
        _mm512_setr_epi32(0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30);
    const __m512i odd = _mm512_or_si512(even, _mm512_set1_epi32(1));
    Indices<256> index;
    index.low = _mm512_permutex2var_epi32(low, even, high);
    index.high[0] = _mm512_movepi8_mask(index.low);
    LookUpPoints(kCodesIQ2_XXS, index, words);
    const __m512i seven = _mm512_permutex2var_epi32(low, odd, high);
    _mm512_store_si512(signs, CompleteSigns(SevenSigns(seven)));
  }
};
template <>
struct Codes<quant::BlockIQ2_XS> : PairOf8 {
  static constexpr const Levels& kLevels = kLevelsIQ2;
  void Read(TwoRows p) {
    p = p + offsetof(quant::BlockIQ2_XS, qs);
    const __m512i low = Load64(p.low), high = Load64(p.high);
    // Of the words of both rows the even bytes, and the odd.
    const __m512i step = _mm512_set1_epi64(0x4644424006040200);
    const __m512i run = _mm512_setr_epi64(
        0, 0x0808080808080808, 0x1010101010101010, 0x1818181818181818, 0x2020202020202020,
        0x2828282828282828, 0x3030303030303030, 0x3838383838383838);
    const __m512i even = _mm512_add_epi8(step, run);
    const __m512i odd = _mm512_or_si512(even, Bytes(1));
    const __m512i upper = _mm512_permutex2var_epi8(low, odd, high);
    Indices<512> index;
    index.low = _mm512_permutex2var_epi8(low, even, high);
    index.high[0] = _mm512_movepi8_mask(index.low);
    index.high[1] = _mm512_test_epi8_mask(upper, Bytes(1));
    LookUpPoints(kCodesIQ2_XS, index, words);
    _mm512_store_si512(signs, CompleteSigns(_mm512_srli_epi16(upper, 1)));
  }
};
template <>
struct Codes<quant::BlockIQ2_S> : PairOf8 {
  static constexpr const Levels& kLevels = kLevelsIQ2;
  void Read(TwoRows p) {
    using Block = quant::BlockIQ2_S;
    const uint8_t* low = p.low + offsetof(Block, qh);
    const uint8_t* high = p.high + offsetof(Block, qh);
    // A byte of each row for a run, four times each.
    const __m512i order = _mm512_add_epi8(
        _mm512_set1_epi64(0x0808080800000000),
        _mm512_setr_epi64(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303,
                          0x0404040404040404, 0x0505050505050505, 0x0606060606060606,
                          0x0707070707070707));
    const __m128i both = _mm_set_epi64x(avx2::LoadAs<int64_t>(high), avx2::LoadAs<int64_t>(low));
    const __m512i upper = _mm512_permutexvar_epi8(order, _mm512_castsi128_si512(both));
    Indices<1024> index;
    index.low = Interleaved(Load32(p + offsetof(Block, qs)));
    index.high[0] = _mm512_movepi8_mask(index.low);
    index.high[1] = _mm512_test_epi8_mask(upper, _mm512_set1_epi32(0x40100401));
    index.high[2] =
        _mm512_test_epi8_mask(upper, _mm512_set1_epi32(static_cast<int32_t>(0x80200802)));
    LookUpPoints(kCodesIQ2_S, index, words);
    _mm512_store_si512(signs, Interleaved(Load32(p + offsetof(Block, signs))));
  }
};
template <>
struct Codes<quant::BlockIQ3_XXS> : PairOf4 {
  static constexpr const Levels& kLevels = kLevelsIQ3_XXS;
  void Read(TwoRows p) {
    using Block = quant::BlockIQ3_XXS;
    for (int row = 0; row < 2; ++row) {
      Indices<256> index;
      index.low = Load64((row == 0 ? p.low : p.high) + offsetof(Block, qs));
      index.high[0] = _mm512_movepi8_mask(index.low);
      LookUpPoints(kCodesIQ3_XXS, index, words[row]);
    }
    const __m512i seven = Interleaved(Load32(p + offsetof(Block, signs_scale)));
    _mm512_store_si512(signs, CompleteSigns(SevenSigns(seven)));
  }
};
template <>
struct Codes<quant::BlockIQ3_S> : PairOf4 {
  static constexpr const Levels& kLevels = kLevelsIQ3_S;
  void Read(TwoRows p) {
    using Block = quant::BlockIQ3_S;
    for (int row = 0; row < 2; ++row) {
      const uint8_t* from = row == 0 ? p.low : p.high;
      Indices<512> index;
      index.low = Load64(from + offsetof(Block, qs));
      index.high[0] = _mm512_movepi8_mask(index.low);
      index.high[1] = avx2::LoadAs<uint64_t>(from + offsetof(Block, qh));
      LookUpPoints(kCodesIQ3_S, index, words[row]);
    }
    _mm512_store_si512(signs, Interleaved(Load32(p + offsetof(Block, signs))));
  }
};

// 16 bits for each run of both rows, as words of 32.
inline __m512i RunWords(TwoRows p) {
  const __m256i low =
      _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p.low)));
  const __m256i high =
      _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p.high)));
  return Interleaved(Halves(low, high));
}
// The three upper bits of indices, from the lowest bits of `upper`.
inline Indices<2048> IndicesIQ1(__m512i low, __m512i upper) {
  return {low,
          {_mm512_movepi8_mask(low), _mm512_test_epi8_mask(upper, Bytes(1)),
           _mm512_test_epi8_mask(upper, Bytes(2)), _mm512_test_epi8_mask(upper, Bytes(4))}};
}
template <>
struct Codes<quant::BlockIQ1_S> : PairOf8 {
  static constexpr const Levels& kLevels = kLevelsIQ1;
  void Read(TwoRows p) {
    using Block = quant::BlockIQ1_S;
    const __m512i upper = RunWords(p + offsetof(Block, qh));
    const __m512i each = _mm512_multishift_epi64_epi8(_mm512_set1_epi64(0x2926232009060300), upper);
    LookUpPoints(kCodesIQ1, IndicesIQ1(Interleaved(Load32(p + offsetof(Block, qs))), each), words);
    _mm512_store_si512(signs, _mm512_srai_epi32(_mm512_slli_epi32(upper, 16), 31));
  }
};
template <>
struct Codes<quant::BlockIQ1_M> : PairOf8 {
  static constexpr const Levels& kLevels = kLevelsIQ1;
  void Read(TwoRows p) {
    using Block = quant::BlockIQ1_M;
    const __m512i each = _mm512_multishift_epi64_epi8(_mm512_set1_epi64(0x2C2824200C080400),
                                                      RunWords(p + offsetof(Block, qh)));
    LookUpPoints(kCodesIQ1, IndicesIQ1(Interleaved(Load32(p + offsetof(Block, qs))), each), words);
    _mm512_store_si512(signs, _mm512_movm_epi8(_mm512_test_epi8_mask(each, Bytes(8))));
  }
};

template <typename Block>
concept HasCodes = requires(Codes<Block> codes) {
  codes.words;
};

template <HasCodes Block>
class BlockOfRows<Block> {
 public:
  BlockOfRows(const uint8_t* const* rows, int64_t at) {
    for (int pair = 0; pair < kPairs; ++pair) pairs_[pair].Read(PairOf(rows, pair, at));
  }
  __m512i Run(int pair, int run) const {
    const Codes<Block>& codes = pairs_[pair];
    return LevelsOf(Codes<Block>::kLevels, codes.Fields(run), codes.signs[run]);
  }

 private:
  Codes<Block> pairs_[kPairs];
};

}  // namespace bantam::cpu::avx512

BANTAM_AVX512_END
