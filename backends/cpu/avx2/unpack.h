// What simd/unpack.inc needs of AVX2. Unsigned quants that are small are summed in 16 bits as they
// come (vpmaddubsw): 32767 / (2 * 127 * kMost) products with int8 of them.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "backends/cpu/avx2/isa.h"
#include "backends/cpu/simd/levels.h"
#include "runtime/quant/blocks.h"

BANTAM_AVX2_BEGIN

namespace bantam::cpu::avx2 {

// Rows of weights that are worked on together: a lane of a register each.
inline constexpr int kLanes = 8;

// For sums of integers that are added to again and again: else the compiler adds in another order,
// with more sums at a time than there are registers.
inline void InThisOrder(__m256i& sum) { asm("" : "+x"(sum)); }

template <typename T>
inline T LoadAs(const uint8_t* p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}
inline __m256i Load32(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline __m256i Bytes(int value) { return _mm256_set1_epi8(static_cast<char>(value)); }

// 16 bytes to 32: the low four bits of each, then the high four.
inline __m256i Nibbles(const uint8_t* p) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(bytes, 4), bytes), Bytes(15));
}
// `width` bits of each of 32 bytes, from bit `shift` up.
inline __m256i Field(const uint8_t* p, int shift, int mask) {
  return _mm256_and_si256(_mm256_srli_epi16(Load32(p), shift), Bytes(mask));
}
// Bit i of four bytes to bit 4 of byte i.
inline __m256i FifthBits(const uint8_t* p) {
  const __m256i spread = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1,  //
                                          2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
  const __m256i bit = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201));
  const __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(LoadAs<int32_t>(p)), spread);
  return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit), Bytes(16));
}
// Each byte, below 16, replaced by an entry of a table.
inline __m256i LookUp(__m256i index, const int8_t* table) {
  const __m128i entries = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(entries), index);
}

// The f16 at `offset` of each row.
inline __m256 HalvesOf(const uint8_t* const* rows, int64_t offset) {
  // Two chains of insertions.
  __m128i a = _mm_cvtsi32_si128(LoadAs<uint16_t>(rows[0] + offset));
  __m128i b = _mm_cvtsi32_si128(LoadAs<uint16_t>(rows[4] + offset));
  a = _mm_insert_epi16(a, LoadAs<int16_t>(rows[1] + offset), 1);
  b = _mm_insert_epi16(b, LoadAs<int16_t>(rows[5] + offset), 1);
  a = _mm_insert_epi16(a, LoadAs<int16_t>(rows[2] + offset), 2);
  b = _mm_insert_epi16(b, LoadAs<int16_t>(rows[6] + offset), 2);
  a = _mm_insert_epi16(a, LoadAs<int16_t>(rows[3] + offset), 3);
  b = _mm_insert_epi16(b, LoadAs<int16_t>(rows[7] + offset), 3);
  return _mm256_cvtph_ps(_mm_unpacklo_epi64(a, b));
}
inline float HalfAt(const uint8_t* p) {
  return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(LoadAs<uint16_t>(p))));
}

// 8 x 8 of f32 or of four bytes: column r of the result is row r.
inline void Transpose(__m256 v[8]) {
  __m256 t[8], u[8];
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(v[i], v[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(v[i], v[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    u[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    u[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xEE);
    u[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    u[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xEE);
  }
  for (int i = 0; i < 4; ++i) {
    v[i] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x20);
    v[i + 4] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x31);
  }
}
// Words `kSkip / 4` up of the 16 bytes at `offset` of each row: word[i] has a lane for each row.
template <int kSkip = 0>
inline void WordsOf(const uint8_t* const* rows, int64_t offset, __m256i word[4]) {
  __m256i two[4];  // rows i and i + 4
  for (int i = 0; i < 4; ++i) {
    two[i] = _mm256_srli_si256(
        _mm256_set_m128i(_mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[i + 4] + offset)),
                         _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[i] + offset))),
        kSkip);
  }
  const __m256i low_01 = _mm256_unpacklo_epi32(two[0], two[1]);
  const __m256i low_23 = _mm256_unpacklo_epi32(two[2], two[3]);
  const __m256i high_01 = _mm256_unpackhi_epi32(two[0], two[1]);
  const __m256i high_23 = _mm256_unpackhi_epi32(two[2], two[3]);
  word[0] = _mm256_unpacklo_epi64(low_01, low_23);
  word[1] = _mm256_unpackhi_epi64(low_01, low_23);
  word[2] = _mm256_unpacklo_epi64(high_01, high_23);
  word[3] = _mm256_unpackhi_epi64(high_01, high_23);
}
// Bits of each lane: `mask` of those from bit `shift` up.
inline __m256i BitsOf(__m256i words, int shift, int mask) {
  return _mm256_and_si256(_mm256_srli_epi32(words, shift), _mm256_set1_epi32(mask));
}
inline __m256i ShiftedUp(__m256i words, int shift) { return _mm256_slli_epi32(words, shift); }
inline __m256i Less(__m256i words, int value) {
  return _mm256_sub_epi32(words, _mm256_set1_epi32(value));
}
inline __m256i SignedByteOf(__m256i words, int byte) {
  return _mm256_srai_epi32(_mm256_slli_epi32(words, 24 - 8 * byte), 24);
}
// The f16 in the lower half of each lane, and in the upper.
inline void TwoHalves(__m256i words, __m256* low, __m256* high) {
  const __m256i halves = _mm256_permute4x64_epi64(
      _mm256_packus_epi32(_mm256_and_si256(words, _mm256_set1_epi32(0xFFFF)),
                          _mm256_srli_epi32(words, 16)),
      0xD8);
  *low = _mm256_cvtph_ps(_mm256_castsi256_si128(halves));
  *high = _mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1));
}
inline void StoreFloats(__m256 x, float* out) { _mm256_storeu_ps(out, x); }
inline void StoreProducts(__m256 factor, __m256i integers, float* out) {
  _mm256_storeu_ps(out, _mm256_mul_ps(factor, _mm256_cvtepi32_ps(integers)));
}
inline __m256 Times(__m256 x, float factor) { return _mm256_mul_ps(x, _mm256_set1_ps(factor)); }
inline __m256 Negated(__m256 x) { return _mm256_xor_ps(x, _mm256_set1_ps(-0.0f)); }

inline __m256i Or(__m256i a, __m256i b) { return _mm256_or_si256(a, b); }
inline __m256i Shifted2(__m256i bytes) { return _mm256_slli_epi16(bytes, 2); }
inline __m256i Shifted4(__m256i bytes) { return _mm256_slli_epi16(bytes, 4); }
// The second and the third eight bytes change places.
inline __m256i SwapMiddle(__m256i bytes) { return _mm256_permute4x64_epi64(bytes, 0xD8); }

using From = const uint8_t*;
using Rows = const uint8_t* const*;
using Quants = __m256i;
using Words = __m256i;
using Floats = __m256;
#include "backends/cpu/simd/plain_rows.inc"
#include "backends/cpu/simd/runs.inc"
#include "backends/cpu/simd/unpack.inc"

}  // namespace bantam::cpu::avx2

BANTAM_AVX2_END
