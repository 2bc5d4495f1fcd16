// How interleaved weights (plan/interleave.h) give their integers and scales to registers of 256
// bits: what simd/runs.inc and simd/unpack.inc need for one half of a group, 8 of its 16 rows, a
// lane for each. A run of them is eight registers, of which register j holds elements 4j to 4j + 3
// of the rows.
#pragma once

#include "backends/cpu/avx2/unpack.h"
#include "backends/cpu/plan/interleave.h"

BANTAM_AVX2_BEGIN

namespace bantam::cpu::avx2::interleaved {

inline constexpr int kWords = 8;  // of four quants, in a run

// A place in a block of the group; words there are those of the half.
struct From {
  const uint8_t* p;
  From operator+(int64_t bytes) const { return {p + kInterleaved * bytes}; }
  __m256i Word(int i) const { return avx2::Load32(p + 4 * kInterleaved * i); }
};
struct Quants {
  __m256i v[kWords];
};

template <typename F>
[[gnu::always_inline]] inline Quants ForEach(const F& f) {
  Quants quants;
#pragma GCC unroll 8
  for (int j = 0; j < kWords; ++j) quants.v[j] = f(j);
  return quants;
}

inline Quants Load32(From p) {
  return ForEach([p](int j) { return p.Word(j); });
}
inline Quants Nibbles(From p) {
  return ForEach([p](int j) {
    const __m256i word = p.Word(j % 4);
    return _mm256_and_si256(j < 4 ? word : _mm256_srli_epi16(word, 4), Bytes(15));
  });
}
inline Quants Field(From p, int shift, int mask) {
  return ForEach(
      [=](int j) { return _mm256_and_si256(_mm256_srli_epi16(p.Word(j), shift), Bytes(mask)); });
}
inline Quants FifthBits(From p) {
  const __m256i word = p.Word(0);
  const __m256i each_four = _mm256_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12,  //
                                             0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12);
  return ForEach([=](int j) {
    // Four bits of byte j / 2, one to each byte of a lane.
    const __m256i bytes = _mm256_shuffle_epi8(word, _mm256_add_epi8(each_four, Bytes(j / 2)));
    const __m256i bit = _mm256_set1_epi32(j % 2 == 0 ? 0x08040201 : static_cast<int>(0x80402010));
    return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit), Bytes(16));
  });
}
inline Quants LookUp(const Quants& index, const int8_t* table) {
  return ForEach([&](int j) { return avx2::LookUp(index.v[j], table); });
}
inline Quants Or(const Quants& a, const Quants& b) {
  return ForEach([&](int j) { return avx2::Or(a.v[j], b.v[j]); });
}
inline Quants Shifted2(const Quants& q) {
  return ForEach([&](int j) { return avx2::Shifted2(q.v[j]); });
}
inline Quants Shifted4(const Quants& q) {
  return ForEach([&](int j) { return avx2::Shifted4(q.v[j]); });
}
inline Quants SwapMiddle(const Quants& q) {
  return ForEach([&](int j) { return q.v[j / 2 == 1 ? j + 2 : j / 2 == 2 ? j - 2 : j]; });
}

// Scales. What is asked of lanes is the same as in avx2/unpack.h.
using avx2::BitsOf;
using avx2::kLanes;
using avx2::Less;
using avx2::Negated;
using avx2::Or;
using avx2::ShiftedUp;
using avx2::SignedByteOf;
using avx2::StoreFloats;
using avx2::StoreProducts;
using avx2::TwoHalves;
using Words = __m256i;
using Floats = __m256;

struct Rows {
  const uint8_t* group;
  int half;

  // A piece of `bytes` for each row.
  const uint8_t* Piece(int64_t offset, int bytes) const {
    return group + kInterleaved * offset + half * kLanes * bytes;
  }
};

template <typename Block>
inline Floats HalvesOf(Rows rows, int64_t at, int64_t field) {
  using Odd = OddPiece<Block>;
  if (Odd::kBytes == 2 && field == Odd::kAt) {
    return _mm256_cvtph_ps(
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows.Piece(at + field, 2))));
  }
  Floats half[2];
  TwoHalves(avx2::Load32(rows.Piece(at + field / 4 * 4, 4)), &half[0], &half[1]);
  return half[field % 4 / 2];
}
// A byte of each row, to lanes of 32 bits.
template <typename Block>
inline Words BytesOf(Rows rows, int64_t at, int64_t field) {
  using Odd = OddPiece<Block>;
  if (Odd::kBytes == 1 && field == Odd::kAt) {
    return _mm256_cvtepu8_epi32(
        _mm_loadl_epi64(reinterpret_cast<const __m128i*>(rows.Piece(at + field, 1))));
  }
  return BitsOf(avx2::Load32(rows.Piece(at + field / 4 * 4, 4)), static_cast<int>(field % 4 * 8), 255);
}
template <typename T, typename Block>
inline T LoadAt(Rows rows, int r, int64_t at, int64_t field) {
  static_assert(sizeof(T) == 4);  // a word
  return LoadAs<T>(rows.Piece(at + field, 4) + 4 * r);
}
// As HalfOfE8M0ToFloat and HalfOfUE4M3ToFloat (quant/float16.h).
template <typename Block>
inline void StoreE8M0(Rows rows, int64_t at, int64_t field, float* out) {
  const __m256i e = BytesOf<Block>(rows, at, field);
  const __m256i normal = _mm256_slli_epi32(Less(e, 1), 23);
  const __m256i subnormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
  const __m256i is_small = _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e);
  StoreFloats(_mm256_castsi256_ps(_mm256_blendv_epi8(normal, subnormal, is_small)), out);
}
template <typename Block>
inline void StoreUE4M3(Rows rows, int64_t at, int64_t field, float* out) {
  const __m256i x = BytesOf<Block>(rows, at, field);
  const __m256i magnitude = BitsOf(x, 0, 0x7F);
  const __m256i normal =
      _mm256_add_epi32(_mm256_slli_epi32(magnitude, 20), _mm256_set1_epi32((127 - 8) << 23));
  const __m256 subnormal =
      _mm256_mul_ps(_mm256_cvtepi32_ps(magnitude), _mm256_set1_ps(1.0f / 1024.0f));
  const __m256i is_small = _mm256_cmpgt_epi32(_mm256_set1_epi32(8), magnitude);
  const __m256 value =
      _mm256_blendv_ps(_mm256_castsi256_ps(normal), subnormal, _mm256_castsi256_ps(is_small));
  const __m256i is_zero = _mm256_cmpeq_epi32(x, _mm256_set1_epi32(0x7F));
  StoreFloats(_mm256_andnot_ps(_mm256_castsi256_ps(is_zero), value), out);
}
template <int kSkip = 0>
inline void WordsOf(Rows rows, int64_t offset, Words word[4]) {
  for (int i = 0; i < 4 - (kSkip + 3) / 4; ++i) {
    word[i] = avx2::Load32(rows.Piece(offset + kSkip + 4 * i, 4));
  }
}

#include "backends/cpu/simd/runs.inc"
#include "backends/cpu/simd/unpack.inc"

}  // namespace bantam::cpu::avx2::interleaved

BANTAM_AVX2_END
