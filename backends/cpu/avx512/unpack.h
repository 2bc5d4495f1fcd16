// How each weight type gives its integers to registers of 512 bits. A register holds a run of two
// weight rows; scales and what is not said here are AVX2's (avx2/unpack.h).
#pragma once

#include "backends/cpu/avx2/unpack.h"
#include "backends/cpu/avx2/unpack_codebook.h"
#include "backends/cpu/avx512/isa.h"

BANTAM_AVX512_BEGIN

namespace bantam::cpu::avx512 {

// The same place in two rows: the lower half of a register, and the upper.
struct TwoRows {
  const uint8_t* low;
  const uint8_t* high;

  TwoRows operator+(int64_t bytes) const { return {low + bytes, high + bytes}; }
};

inline __m512i Bytes(int value) { return _mm512_set1_epi8(static_cast<char>(value)); }
inline __m512i Halves(__m256i low, __m256i high) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}
inline __m512i Load32(TwoRows p) { return Halves(avx2::Load32(p.low), avx2::Load32(p.high)); }
// 16 bytes of each row, twice.
inline __m512i Load16Twice(TwoRows p) {
  const __m512i low =
      _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p.low)));
  return _mm512_mask_broadcast_i32x4(low, 0xFF00,
                                     _mm_loadu_si128(reinterpret_cast<const __m128i*>(p.high)));
}
inline __m512i Nibbles(TwoRows p) {
  // Quarters 1 and 3 are the high nibbles.
  const __m512i shift = _mm512_set_epi64(4, 4, 0, 0, 4, 4, 0, 0);
  return _mm512_and_si512(_mm512_srlv_epi64(Load16Twice(p), shift), Bytes(15));
}
inline __m512i Field(TwoRows p, int shift, int mask) {
  return _mm512_and_si512(_mm512_srli_epi16(Load32(p), shift), Bytes(mask));
}
inline __m512i FifthBits(TwoRows p) {
  const uint64_t bits = avx2::LoadAs<uint32_t>(p.low) | uint64_t{avx2::LoadAs<uint32_t>(p.high)}
                                                            << 32;
  return _mm512_maskz_mov_epi8(bits, Bytes(16));
}
inline __m512i LookUp(__m512i index, const int8_t* table) {
  const __m128i entries = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
  return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(entries), index);
}
// 4 x 4 words of 32 bits within each quarter of four registers.
inline void TransposeQuarters(const __m512i* v, __m512i* out) {
  const __m512i ab_low = _mm512_unpacklo_epi32(v[0], v[1]);
  const __m512i ab_high = _mm512_unpackhi_epi32(v[0], v[1]);
  const __m512i cd_low = _mm512_unpacklo_epi32(v[2], v[3]);
  const __m512i cd_high = _mm512_unpackhi_epi32(v[2], v[3]);
  out[0] = _mm512_unpacklo_epi64(ab_low, cd_low);
  out[1] = _mm512_unpackhi_epi64(ab_low, cd_low);
  out[2] = _mm512_unpacklo_epi64(ab_high, cd_high);
  out[3] = _mm512_unpackhi_epi64(ab_high, cd_high);
}
// 16 x 16 of 32 bits: element i of the result is element i of all.
inline void TransposeRows(__m512i v[16]) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 4) TransposeQuarters(v + i, t + i);
  for (int i = 0; i < 4; ++i) {
    const __m512i low = _mm512_shuffle_i32x4(t[i], t[i + 4], 0x44);
    const __m512i high = _mm512_shuffle_i32x4(t[i], t[i + 4], 0xEE);
    const __m512i more_low = _mm512_shuffle_i32x4(t[i + 8], t[i + 12], 0x44);
    const __m512i more_high = _mm512_shuffle_i32x4(t[i + 8], t[i + 12], 0xEE);
    v[i] = _mm512_shuffle_i32x4(low, more_low, 0x88);
    v[i + 4] = _mm512_shuffle_i32x4(low, more_low, 0xDD);
    v[i + 8] = _mm512_shuffle_i32x4(high, more_high, 0x88);
    v[i + 12] = _mm512_shuffle_i32x4(high, more_high, 0xDD);
  }
}
inline __m512i Or(__m512i a, __m512i b) { return _mm512_or_si512(a, b); }
inline __m512i Shifted2(__m512i bytes) { return _mm512_slli_epi16(bytes, 2); }
inline __m512i Shifted4(__m512i bytes) { return _mm512_slli_epi16(bytes, 4); }
inline __m512i SwapMiddle(__m512i bytes) { return _mm512_permutex_epi64(bytes, 0xD8); }

using From = TwoRows;
using Quants = __m512i;
#include "backends/cpu/simd/runs.inc"

template <typename Block>
concept HasRuns = requires(TwoRows p) {
  Runs<Block>::Run(p, 0);
};

// Rows that are worked on together: a lane of a register each.
inline constexpr int kRows = 16;
inline constexpr int kPairs = kRows / 2;

// The rows of register `pair`: in this order sums and columns of all registers are easily joined.
inline TwoRows PairOf(const uint8_t* const* rows, int pair, int64_t at) {
  const int low = pair % 4 + pair / 4 * 8;
  return {rows[low] + at, rows[low + 4] + at};
}

// As avx2::Unpack; quants are unsigned, those of types with signed ones shifted up by 128.
template <typename Block>
struct Unpack {
  using Narrow = avx2::Unpack<Block>;
  static constexpr bool kSigned = Narrow::kMost == 0;
  static constexpr int kBias = Narrow::kBias + (kSigned ? 128 : 0);
  static constexpr int kGroup = Narrow::kGroup;
  static constexpr bool kHasMin = Narrow::kHasMin;
};

// A block of kRows rows, at byte `at` of each: its runs, a register for each pair of rows.
template <typename Block>
class BlockOfRows {
 public:
  BlockOfRows(const uint8_t* const* rows, int64_t at) : rows_(rows), at_(at) {}
  __m512i Run(int pair, int run) const {
    const TwoRows p = PairOf(rows_, pair, at_);
    __m512i quants;
    if constexpr (HasRuns<Block>) {
      quants = Runs<Block>::Run(p, run);
    } else {
      using Narrow = avx2::Unpack<Block>;
      quants = Halves(Narrow::Run(p.low, run), Narrow::Run(p.high, run));
    }
    return Unpack<Block>::kSigned ? _mm512_xor_si512(quants, Bytes(128)) : quants;
  }

 private:
  const uint8_t* const* rows_;
  int64_t at_;
};

}  // namespace bantam::cpu::avx512

BANTAM_AVX512_END
