// How interleaved weights give their integers and scales to pairs of registers: what
// simd/interleaved.inc and simd/unpack.inc need for one half of a group, 8 of its 16 rows.
#pragma once

#include "backends/cpu/neon/unpack.h"
#include "backends/cpu/plan/interleave.h"
#include "backends/cpu/simd/fetch_share.h"

namespace bantam::cpu::neon::interleaved {

using Reg = neon::Quants;
inline Reg LoadReg(const uint8_t* p) { return neon::Load32(p); }
inline Reg UpBytes(Reg bytes, int shift) {
  const int8x16_t by = vdupq_n_s8(static_cast<int8_t>(shift));
  return {vshlq_u8(bytes.low, by), vshlq_u8(bytes.high, by)};
}
inline Reg BitsOfBytes(Reg bytes, int shift, int mask) {
  return neon::And(shift == 0 ? bytes : UpBytes(bytes, -shift), neon::Bytes(mask));
}
inline Reg OrReg(Reg a, Reg b) { return neon::Or(a, b); }
inline Reg LookUpReg(Reg index, const int8_t* table) { return neon::LookUp(index, table); }
inline Reg FifthBitsOf(Reg word, int j) {
  // Four bits of byte j / 2, one to each byte of a lane.
  const auto lanes = [](uint32_t each) { return vreinterpretq_u8_u32(vdupq_n_u32(each)); };
  const uint8x16_t first = vreinterpretq_u8_u64(
      vcombine_u64(vcreate_u64(0x0404040400000000), vcreate_u64(0x0C0C0C0C08080808)));
  const uint8x16_t from = vaddq_u8(first, vdupq_n_u8(static_cast<uint8_t>(j / 2)));
  const uint8x16_t bit = lanes(j % 2 == 0 ? 0x08040201u : 0x80402010u);
  return neon::And(
      Reg{vtstq_u8(vqtbl1q_u8(word.low, from), bit), vtstq_u8(vqtbl1q_u8(word.high, from), bit)},
      neon::Bytes(16));
}
#include "backends/cpu/simd/interleaved.inc"

// Scales. What is asked of lanes is the same as in neon/unpack.h.
using neon::BitsOf;
using neon::Floats;
using neon::kLanes;
using neon::Less;
using neon::LoadAs;
using neon::Negated;
using neon::Or;
using neon::ShiftedUp;
using neon::SignedByteOf;
using neon::StoreFloats;
using neon::StoreProducts;
using neon::TwoHalves;
using neon::Words;

inline Words LoadWords(const uint8_t* p) {
  const Reg bytes = neon::Load32(p);
  return {vreinterpretq_u32_u8(bytes.low), vreinterpretq_u32_u8(bytes.high)};
}
inline Floats HalvesAt(const uint8_t* p) {
  const uint8x16_t bytes = vld1q_u8(p);
  const auto wide = [](uint8x8_t four) { return vcvt_f32_f16(vreinterpret_f16_u8(four)); };
  return {wide(vget_low_u8(bytes)), wide(vget_high_u8(bytes))};
}
inline Words BytesAt(const uint8_t* p) {
  const uint16x8_t wide = vmovl_u8(vld1_u8(p));
  return {vmovl_u16(vget_low_u16(wide)), vmovl_u16(vget_high_u16(wide))};
}
#include "backends/cpu/simd/half_group.inc"

template <typename Block, float (*kDecode)(uint8_t)>
inline void StoreDecoded(Rows rows, int64_t at, int64_t field, float* out) {
  uint32_t bytes[kLanes];
  const Words words = BytesOf<Block>(rows, at, field);
  vst1q_u32(bytes, words.low);
  vst1q_u32(bytes + 4, words.high);
  for (int r = 0; r < kLanes; ++r) out[r] = kDecode(static_cast<uint8_t>(bytes[r]));
}
template <typename Block>
inline void StoreE8M0(Rows rows, int64_t at, int64_t field, float* out) {
  StoreDecoded<Block, &quant::HalfOfE8M0ToFloat>(rows, at, field, out);
}
template <typename Block>
inline void StoreUE4M3(Rows rows, int64_t at, int64_t field, float* out) {
  StoreDecoded<Block, &quant::HalfOfUE4M3ToFloat>(rows, at, field, out);
}

#include "backends/cpu/simd/runs.inc"
#include "backends/cpu/simd/unpack.inc"

}  // namespace bantam::cpu::neon::interleaved
