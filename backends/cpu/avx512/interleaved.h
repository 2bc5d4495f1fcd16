// How interleaved weights give their integers and scales to registers of 512 bits: what
// simd/interleaved.inc and simd/unpack.inc need for 16 rows.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "backends/cpu/avx512/isa.h"
#include "backends/cpu/plan/interleave.h"
#include "backends/cpu/simd/levels.h"

BANTAM_AVX512_BEGIN

namespace bantam::cpu::avx512::interleaved {

inline constexpr int kLanes = 16;

using Reg = __m512i;
inline Reg Bytes(int value) { return _mm512_set1_epi8(static_cast<char>(value)); }
inline Reg LoadReg(const uint8_t* p) { return _mm512_loadu_si512(p); }
inline Reg BitsOfBytes(Reg bytes, int shift, int mask) {
  return _mm512_and_si512(_mm512_srli_epi16(bytes, static_cast<unsigned>(shift)), Bytes(mask));
}
inline Reg UpBytes(Reg bytes, int shift) {
  return _mm512_slli_epi16(bytes, static_cast<unsigned>(shift));
}
inline Reg OrReg(Reg a, Reg b) { return _mm512_or_si512(a, b); }
inline Reg LookUpReg(Reg index, const int8_t* table) {
  const __m128i entries = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
  return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(entries), index);
}
inline Reg FifthBitsOf(Reg word, int j) {
  // Byte i of each of two words is eight bits from 4j + i - 4 up.
  const __m512i from = _mm512_add_epi8(_mm512_set1_epi64(0x1F1E1D1CFFFEFDFC), Bytes(4 * j));
  return _mm512_and_si512(_mm512_multishift_epi64_epi8(from, word), Bytes(16));
}
#include "backends/cpu/simd/interleaved.inc"

// Scales: where a row of the group begins is where all do.
using Rows = const uint8_t*;
using Words = __m512i;
using Floats = __m512;

template <typename Block>
inline Floats HalvesOf(Rows rows, int64_t at, int64_t field) {
  using Odd = OddPiece<Block>;
  if (Odd::kBytes == 2 && field == Odd::kAt) {
    const uint8_t* piece = rows + kLanes * (at + field);
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(piece)));
  }
  // Half of a word.
  const __m512i word = _mm512_loadu_si512(rows + kLanes * (at + field / 4 * 4));
  return _mm512_cvtph_ps(
      _mm512_cvtepi32_epi16(_mm512_srli_epi32(word, static_cast<unsigned>(8 * (field % 4)))));
}
// A byte of each row, to lanes of 32 bits.
template <typename Block>
inline Words BytesOf(Rows rows, int64_t at, int64_t field) {
  using Odd = OddPiece<Block>;
  const uint8_t* piece = rows + kLanes * (at + field / 4 * 4);
  if (Odd::kBytes == 1 && field == Odd::kAt) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(piece)));
  }
  const __m512i word =
      _mm512_srli_epi32(_mm512_loadu_si512(piece), static_cast<unsigned>(field % 4 * 8));
  return _mm512_and_si512(word, _mm512_set1_epi32(255));
}
template <typename T, typename Block>
inline T LoadAt(Rows rows, int r, int64_t at, int64_t field) {
  static_assert(sizeof(T) == 4);  // a word
  T value;
  std::memcpy(&value, rows + kLanes * (at + field) + r * 4, sizeof(T));
  return value;
}
// As HalfOfE8M0ToFloat and HalfOfUE4M3ToFloat (quant/float16.h).
template <typename Block>
inline void StoreE8M0(Rows rows, int64_t at, int64_t field, float* out) {
  const __m512i e = BytesOf<Block>(rows, at, field);
  const __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
  const __mmask16 is_small = _mm512_cmplt_epi32_mask(e, _mm512_set1_epi32(2));
  _mm512_storeu_si512(out,
                      _mm512_mask_sllv_epi32(normal, is_small, _mm512_set1_epi32(0x00200000), e));
}
template <typename Block>
inline void StoreUE4M3(Rows rows, int64_t at, int64_t field, float* out) {
  const __m512i x = BytesOf<Block>(rows, at, field);
  const __m512i magnitude = _mm512_and_si512(x, _mm512_set1_epi32(0x7F));
  const __m512i normal =
      _mm512_add_epi32(_mm512_slli_epi32(magnitude, 20), _mm512_set1_epi32((127 - 8) << 23));
  const __m512 subnormal =
      _mm512_mul_ps(_mm512_cvtepi32_ps(magnitude), _mm512_set1_ps(1.0f / 1024.0f));
  const __mmask16 is_small = _mm512_cmplt_epi32_mask(magnitude, _mm512_set1_epi32(8));
  const __m512 value = _mm512_mask_mov_ps(_mm512_castsi512_ps(normal), is_small, subnormal);
  _mm512_storeu_ps(
      out, _mm512_maskz_mov_ps(_mm512_cmpneq_epi32_mask(x, _mm512_set1_epi32(0x7F)), value));
}
template <int kSkip = 0>
inline void WordsOf(Rows rows, int64_t offset, Words word[4]) {
  for (int i = 0; i < 4 - (kSkip + 3) / 4; ++i) {
    word[i] = _mm512_loadu_si512(rows + kLanes * (offset + kSkip + 4 * i));
  }
}
inline Words Or(Words a, Words b) { return _mm512_or_si512(a, b); }
inline Words ShiftedUp(Words words, int shift) {
  return _mm512_slli_epi32(words, static_cast<unsigned>(shift));
}
inline Words BitsOf(Words words, int shift, int mask) {
  return _mm512_and_si512(_mm512_srli_epi32(words, static_cast<unsigned>(shift)),
                          _mm512_set1_epi32(mask));
}
inline Words Less(Words words, int value) {
  return _mm512_sub_epi32(words, _mm512_set1_epi32(value));
}
inline Words SignedByteOf(Words words, int byte) {
  return _mm512_srai_epi32(ShiftedUp(words, 24 - 8 * byte), 24);
}
inline void TwoHalves(Words words, Floats* low, Floats* high) {
  *low = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(words));
  *high = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(words, 16)));
}
inline void StoreFloats(Floats x, float* out) { _mm512_storeu_ps(out, x); }
inline void StoreProducts(Floats factor, Words integers, float* out) {
  _mm512_storeu_ps(out, _mm512_mul_ps(factor, _mm512_cvtepi32_ps(integers)));
}
inline Floats Negated(Floats x) { return _mm512_xor_ps(x, _mm512_set1_ps(-0.0f)); }

#include "backends/cpu/simd/runs.inc"
#include "backends/cpu/simd/unpack.inc"

// A run of a block of the group, unsigned: quants of types with signed ones are shifted up by 128.
template <typename Block>
[[gnu::always_inline]] inline Quants RunOf(const uint8_t* block, int run) {
  const Quants quants = Unpack<Block>::Run(From{block}, run);
  if constexpr (Unpack<Block>::kMost == 0) {
    return ForEach([&](int j) { return _mm512_xor_si512(quants.v[j], Bytes(128)); });
  }
  return quants;
}

}  // namespace bantam::cpu::avx512::interleaved

BANTAM_AVX512_END
