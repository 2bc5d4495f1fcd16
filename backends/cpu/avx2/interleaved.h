// How interleaved weights give their integers and scales to registers of 256 bits: what
// simd/interleaved.inc and simd/unpack.inc need for one half of a group, 8 of its 16 rows.
#pragma once

#include "backends/cpu/avx2/unpack.h"
#include "backends/cpu/plan/interleave.h"
#include "backends/cpu/simd/fetch_share.h"

BANTAM_AVX2_BEGIN

namespace bantam::cpu::avx2::interleaved {

using Reg = __m256i;
inline Reg LoadReg(const uint8_t* p) { return avx2::Load32(p); }
inline Reg BitsOfBytes(Reg bytes, int shift, int mask) {
  return _mm256_and_si256(_mm256_srli_epi16(bytes, shift), Bytes(mask));
}
inline Reg UpBytes(Reg bytes, int shift) { return _mm256_slli_epi16(bytes, shift); }
inline Reg OrReg(Reg a, Reg b) { return _mm256_or_si256(a, b); }
inline Reg LookUpReg(Reg index, const int8_t* table) { return avx2::LookUp(index, table); }
inline Reg FifthBitsOf(Reg word, int j) {
  // Four bits of byte j / 2, one to each byte of a lane.
  const __m256i each_four = _mm256_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12,  //
                                             0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12);
  const __m256i bytes = _mm256_shuffle_epi8(word, _mm256_add_epi8(each_four, Bytes(j / 2)));
  const __m256i bit = _mm256_set1_epi32(j % 2 == 0 ? 0x08040201 : static_cast<int>(0x80402010));
  return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit), Bytes(16));
}
#include "backends/cpu/simd/interleaved.inc"

// Scales. What is asked of lanes is the same as in avx2/unpack.h.
using avx2::BitsOf;
using avx2::kLanes;
using avx2::Less;
using avx2::LoadAs;
using avx2::Negated;
using avx2::Or;
using avx2::ShiftedUp;
using avx2::SignedByteOf;
using avx2::StoreFloats;
using avx2::StoreProducts;
using avx2::TwoHalves;
using Words = __m256i;
using Floats = __m256;

inline Words LoadWords(const uint8_t* p) { return avx2::Load32(p); }
inline Floats HalvesAt(const uint8_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline Words BytesAt(const uint8_t* p) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
#include "backends/cpu/simd/half_group.inc"

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
#include "backends/cpu/simd/runs.inc"
#include "backends/cpu/simd/unpack.inc"

}  // namespace bantam::cpu::avx2::interleaved

BANTAM_AVX2_END
