// What simd/unpack_codebook.inc needs of AVX2.
#pragma once

#include "backends/cpu/avx2/unpack.h"
#include "backends/cpu/simd/codebooks.h"

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

// Bits 3, 7, 11 and 15.
inline __m256i DownByTwo(uint32_t bits) {
  const __m256i down = _mm256_and_si256(
      _mm256_srlv_epi64(_mm256_set1_epi64x(bits), _mm256_setr_epi64x(2, 6, 10, 14)),
      _mm256_set1_epi64x(2));
  const __m256i spread = _mm256_setr_epi64x(0, 0x0808080808080808, 0, 0x0808080808080808);
  return _mm256_shuffle_epi8(down, spread);
}
inline void IndicesIQ3_S(const uint8_t* low, uint8_t ninth_bits, uint16_t* index) {
  const __m128i bit = _mm_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128);
  const __m128i high = _mm_and_si128(_mm_set1_epi16(static_cast<int16_t>(ninth_bits)), bit);
  const __m128i ninth = _mm_and_si128(_mm_cmpeq_epi16(high, bit), _mm_set1_epi16(0x100));
  const __m128i bytes = _mm_cvtepu8_epi16(_mm_cvtsi64_si128(LoadAs<int64_t>(low)));
  const __m128i both = _mm_or_si128(bytes, ninth);
  const auto low_half = static_cast<uint64_t>(_mm_cvtsi128_si64(both));
  const auto high_half = static_cast<uint64_t>(_mm_extract_epi64(both, 1));
  for (int i = 0; i < 4; ++i) {
    index[i] = static_cast<uint16_t>(low_half >> 16 * i);
    index[i + 4] = static_cast<uint16_t>(high_half >> 16 * i);
  }
}
inline __m256i WithUpperSevenSigns(__m256i quants, uint64_t words) {
  const __m256i spread = _mm256_setr_epi64x(0x0101010101010101, 0x0303030303030303,
                                            0x0505050505050505, 0x0707070707070707);
  return WithSevenSigns(
      quants, _mm256_shuffle_epi8(_mm256_set1_epi64x(static_cast<int64_t>(words)), spread));
}
inline __m256i Plus(__m256i bytes, int value) { return _mm256_add_epi8(bytes, Bytes(value)); }
inline __m256i Minus(__m256i a, __m256i b) { return _mm256_sub_epi8(a, b); }
inline __m256i WithLowestBit(__m256i words) { return _mm256_or_si256(words, _mm256_set1_epi32(1)); }

inline __m256i TernaryRun(const uint8_t* p, int run) {
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

#include "backends/cpu/simd/unpack_codebook.inc"

}  // namespace bantam::cpu::avx2

BANTAM_AVX2_END
