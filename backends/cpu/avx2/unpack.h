// How each weight type gives its integers and scales to AVX2 registers, for every kernel alike.
//
// A weight is scale * (quant - kBias) [+ min], as in runtime/quant/blocks.h, whose layouts these
// functions follow; scale and min are shared by kGroup consecutive elements. Quants come as bytes,
// in runs of 32:
//
//   kMost > 0    unsigned, at most kMost: products with int8 are summed in 16 bits as they come
//                (vpmaddubsw), 32767 / (2 * 127 * kMost) of them
//   kMost == 0   signed, from -127 or -128 up
//
// A block is at any address.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "backends/cpu/avx2/isa.h"
#include "runtime/quant/blocks.h"

BANTAM_AVX2_BEGIN

namespace bantam::cpu::avx2 {

// Rows of weights that are worked on together: a lane of a register each.
inline constexpr int kLanes = 8;

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
inline __m256 BytesToFloats(uint64_t bytes) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_cvtsi64_si128(static_cast<int64_t>(bytes))));
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
// Eight values of each row to out[value * kLanes + row].
inline void StoreTransposed(__m256 of_row[kLanes], float* out) {
  Transpose(of_row);
  for (int i = 0; i < 8; ++i) _mm256_storeu_ps(out + i * kLanes, of_row[i]);
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
inline void StoreProducts(__m256 factor, __m256i integers, float* out) {
  _mm256_storeu_ps(out, _mm256_mul_ps(factor, _mm256_cvtepi32_ps(integers)));
}
inline __m256 Negated(__m256 x) { return _mm256_xor_ps(x, _mm256_set1_ps(-0.0f)); }

// Types with one scale for a block of 32.
template <typename Block, int kMostOf, int kBiasOf>
struct UnpackSimple {
  static constexpr int kMost = kMostOf, kBias = kBiasOf, kGroup = 32;
  static constexpr bool kHasMin = quant::HasOffset<Block>;
  static void Scales(const uint8_t* const* rows, int64_t at, float* scale, float* min) {
    _mm256_storeu_ps(scale, HalvesOf(rows, at + offsetof(Block, d)));
    if constexpr (kHasMin) _mm256_storeu_ps(min, HalvesOf(rows, at + offsetof(Block, m)));
  }
};

// Types of 256 elements. Unpack<Block>::RowScales gives one row's scales and mins.
template <typename Block, int kMostOf, int kBiasOf, int kGroupOf>
struct UnpackSuper {
  static constexpr int kMost = kMostOf, kBias = kBiasOf, kGroup = kGroupOf;
  static constexpr bool kHasMin = quant::HasOffset<Block>;
  static constexpr int kVectors = 256 / kGroup / 8;
};

template <typename Unpack>
inline void SuperScales(const uint8_t* const* rows, int64_t at, float* scale, float* min) {
  __m256 scales[Unpack::kVectors][kLanes], mins[Unpack::kVectors][kLanes];
  for (int r = 0; r < kLanes; ++r) {
    __m256 s[Unpack::kVectors], m[Unpack::kVectors];
    Unpack::RowScales(rows[r] + at, s, m);
    for (int v = 0; v < Unpack::kVectors; ++v) {
      scales[v][r] = s[v];
      if constexpr (Unpack::kHasMin) mins[v][r] = m[v];
    }
  }
  for (int v = 0; v < Unpack::kVectors; ++v) {
    StoreTransposed(scales[v], scale + v * 8 * kLanes);
    if constexpr (Unpack::kHasMin) StoreTransposed(mins[v], min + v * 8 * kLanes);
  }
}

inline __m256i Or(__m256i a, __m256i b) { return _mm256_or_si256(a, b); }
inline __m256i Shifted2(__m256i bytes) { return _mm256_slli_epi16(bytes, 2); }
inline __m256i Shifted4(__m256i bytes) { return _mm256_slli_epi16(bytes, 4); }
// The second and the third eight bytes change places.
inline __m256i SwapMiddle(__m256i bytes) { return _mm256_permute4x64_epi64(bytes, 0xD8); }

inline constexpr int8_t kLevelsIQ4[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                          1,    13,   25,  38,  53,  69,  89,  113};
// The doubled E2M1, plus the bias of 16.
inline constexpr int8_t kLevelsE2M1[16] = {16, 17, 18, 19, 20, 22, 24, 28,
                                           16, 15, 14, 13, 12, 10, 8,  4};

using From = const uint8_t*;
using Quants = __m256i;
#include "backends/cpu/avx2/runs.inc"

template <typename Block>
struct Unpack;

template <>
struct Unpack<quant::BlockQ4_0> : UnpackSimple<quant::BlockQ4_0, 15, 8>, Runs<quant::BlockQ4_0> {};
template <>
struct Unpack<quant::BlockQ4_1> : UnpackSimple<quant::BlockQ4_1, 15, 0>, Runs<quant::BlockQ4_1> {};
template <>
struct Unpack<quant::BlockQ5_0> : UnpackSimple<quant::BlockQ5_0, 31, 16>, Runs<quant::BlockQ5_0> {};
template <>
struct Unpack<quant::BlockQ5_1> : UnpackSimple<quant::BlockQ5_1, 31, 0>, Runs<quant::BlockQ5_1> {};
template <>
struct Unpack<quant::BlockQ8_0> : UnpackSimple<quant::BlockQ8_0, 0, 0>, Runs<quant::BlockQ8_0> {};
template <>
struct Unpack<quant::BlockQ8_1> : UnpackSimple<quant::BlockQ8_1, 0, 0>, Runs<quant::BlockQ8_1> {};

template <>
struct Unpack<quant::BlockIQ4_NL> : UnpackSimple<quant::BlockIQ4_NL, 0, 0>,
                                    Runs<quant::BlockIQ4_NL> {};
template <>
struct Unpack<quant::BlockMXFP4> : Runs<quant::BlockMXFP4> {
  static constexpr int kMost = 28, kBias = 16, kGroup = 32;
  static constexpr bool kHasMin = false;
  static void Scales(const uint8_t* const* rows, int64_t at, float* scale, float*) {
    for (int r = 0; r < kLanes; ++r) scale[r] = quant::HalfOfE8M0ToFloat(rows[r][at]);
  }
};

// The scales and mins of Q4_K and Q5_K (SixBitScale and SixBitMin).
template <typename Block>
inline void SixBitScales(const uint8_t* const* rows, int64_t at, float* scale, float* min) {
  static_assert(offsetof(Block, d) == 0 && offsetof(Block, dmin) == 2 &&
                offsetof(Block, scales) == 4);
  __m256i word[4];
  WordsOf(rows, at, word);
  const auto& [both, a, b, c] = word;
  const __m256i halves = _mm256_permute4x64_epi64(
      _mm256_packus_epi32(_mm256_and_si256(both, _mm256_set1_epi32(0xFFFF)),
                          _mm256_srli_epi32(both, 16)),
      0xD8);
  const __m256 d = _mm256_cvtph_ps(_mm256_castsi256_si128(halves));
  const __m256 dmin = Negated(_mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1)));
  for (int g = 0; g < 4; ++g) {
    StoreProducts(d, BitsOf(a, 8 * g, 63), scale + g * kLanes);
    StoreProducts(dmin, BitsOf(b, 8 * g, 63), min + g * kLanes);
    StoreProducts(d, _mm256_or_si256(BitsOf(c, 8 * g, 15), BitsOf(a, 8 * g + 2, 0x30)),
                  scale + (g + 4) * kLanes);
    StoreProducts(dmin, _mm256_or_si256(BitsOf(c, 8 * g + 4, 15), BitsOf(b, 8 * g + 2, 0x30)),
                  min + (g + 4) * kLanes);
  }
}

template <>
struct Unpack<quant::BlockQ4_K> : UnpackSuper<quant::BlockQ4_K, 15, 0, 32>, Runs<quant::BlockQ4_K> {
  static void Scales(const uint8_t* const* rows, int64_t at, float* scale, float* min) {
    SixBitScales<quant::BlockQ4_K>(rows, at, scale, min);
  }
};
template <>
struct Unpack<quant::BlockQ5_K> : UnpackSuper<quant::BlockQ5_K, 31, 0, 32>, Runs<quant::BlockQ5_K> {
  static void Scales(const uint8_t* const* rows, int64_t at, float* scale, float* min) {
    SixBitScales<quant::BlockQ5_K>(rows, at, scale, min);
  }
};
template <>
struct Unpack<quant::BlockQ6_K> : UnpackSuper<quant::BlockQ6_K, 63, 32, 16>,
                                  Runs<quant::BlockQ6_K> {
  static void Scales(const uint8_t* const* rows, int64_t at, float* scale, float*) {
    const __m256 d = HalvesOf(rows, at + offsetof(quant::BlockQ6_K, d));
    __m256i word[4];
    WordsOf(rows, at + offsetof(quant::BlockQ6_K, scales), word);
    for (int g = 0; g < 16; ++g) {
      const __m256i signed_byte =
          _mm256_srai_epi32(_mm256_slli_epi32(word[g / 4], 24 - 8 * (g % 4)), 24);
      StoreProducts(d, signed_byte, scale + g * kLanes);
    }
  }
};
template <>
struct Unpack<quant::BlockQ3_K> : UnpackSuper<quant::BlockQ3_K, 7, 4, 16>, Runs<quant::BlockQ3_K> {
  static void Scales(const uint8_t* const* rows, int64_t at, float* scale, float*) {
    const __m256 d = HalvesOf(rows, at + offsetof(quant::BlockQ3_K, d));
    __m256i word[4];
    WordsOf<2>(rows, at + offsetof(quant::BlockQ3_K, scales) - 2, word);  // a block ends in time
    for (int g = 0; g < 16; ++g) {
      const int byte = 8 * (g % 4), half = g / 8, odd = g / 4 % 2;
      const __m256i six =
          _mm256_or_si256(BitsOf(word[odd], byte + 4 * half, 15),
                          _mm256_slli_epi32(BitsOf(word[2], byte + 4 * half + 2 * odd, 3), 4));
      StoreProducts(d, _mm256_sub_epi32(six, _mm256_set1_epi32(32)), scale + g * kLanes);
    }
  }
};
template <>
struct Unpack<quant::BlockQ2_K> : UnpackSuper<quant::BlockQ2_K, 3, 0, 16>, Runs<quant::BlockQ2_K> {
  static void Scales(const uint8_t* const* rows, int64_t at, float* scale, float* min) {
    const __m256 d = HalvesOf(rows, at + offsetof(quant::BlockQ2_K, d));
    const __m256 dmin = Negated(HalvesOf(rows, at + offsetof(quant::BlockQ2_K, dmin)));
    __m256i word[4];
    WordsOf(rows, at + offsetof(quant::BlockQ2_K, scales), word);
    for (int g = 0; g < 16; ++g) {
      StoreProducts(d, BitsOf(word[g / 4], 8 * (g % 4), 15), scale + g * kLanes);
      StoreProducts(dmin, BitsOf(word[g / 4], 8 * (g % 4) + 4, 15), min + g * kLanes);
    }
  }
};
template <>
struct Unpack<quant::BlockIQ4_XS> : UnpackSuper<quant::BlockIQ4_XS, 0, 0, 32>,
                                    Runs<quant::BlockIQ4_XS> {
  static void Scales(const uint8_t* const* rows, int64_t at, float* scale, float*) {
    static_assert(offsetof(quant::BlockIQ4_XS, scales_h) == 2 &&
                  offsetof(quant::BlockIQ4_XS, scales_l) == 4);
    const __m256 d = HalvesOf(rows, at + offsetof(quant::BlockIQ4_XS, d));
    __m256i word[4];
    WordsOf(rows, at, word);
    for (int g = 0; g < 8; ++g) {
      const __m256i six = _mm256_or_si256(BitsOf(word[1], 4 * g, 15),
                                          _mm256_slli_epi32(BitsOf(word[0], 16 + 2 * g, 3), 4));
      StoreProducts(d, _mm256_sub_epi32(six, _mm256_set1_epi32(32)), scale + g * kLanes);
    }
  }
};
template <>
struct Unpack<quant::BlockTQ2_0> : Runs<quant::BlockTQ2_0> {
  static constexpr int kMost = 3, kBias = 1, kGroup = 32;
  static constexpr bool kHasMin = false;
  static void Scales(const uint8_t* const* rows, int64_t at, float* scale, float*) {
    const __m256 d = HalvesOf(rows, at + offsetof(quant::BlockTQ2_0, d));
    for (int run = 0; run < 8; ++run) _mm256_storeu_ps(scale + run * kLanes, d);
  }
};
template <>
struct Unpack<quant::BlockQ8_K> : Runs<quant::BlockQ8_K> {
  static constexpr int kMost = 0, kBias = 0, kGroup = 32;
  static constexpr bool kHasMin = false;
  static void Scales(const uint8_t* const* rows, int64_t at, float* scale, float*) {
    for (int i = 0; i < 8 * kLanes; ++i) {
      scale[i] = LoadAs<float>(rows[i % kLanes] + at + offsetof(quant::BlockQ8_K, d));
    }
  }
};

}  // namespace bantam::cpu::avx2

BANTAM_AVX2_END
