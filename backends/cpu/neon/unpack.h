// What simd/unpack.inc and simd/unpack_codebook.inc need of NEON. All of it is baseline.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "backends/cpu/neon/vectors.h"
#include "backends/cpu/simd/codebooks.h"
#include "backends/cpu/simd/levels.h"
#include "runtime/quant/blocks.h"

namespace bantam::cpu::neon {

// Rows of weights that are worked on together: a lane each of two registers.
inline constexpr int kLanes = 8;

struct Quants {
  uint8x16_t low, high;
};
struct Words {
  uint32x4_t low, high;
};
using From = const uint8_t*;
using Rows = const uint8_t* const*;

template <typename T>
inline T LoadAs(const uint8_t* p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}

inline Quants Load32(const uint8_t* p) { return {vld1q_u8(p), vld1q_u8(p + 16)}; }
inline Quants Bytes(int value) {
  const uint8x16_t bytes = vdupq_n_u8(static_cast<uint8_t>(value));
  return {bytes, bytes};
}
inline Quants And(Quants a, Quants b) { return {vandq_u8(a.low, b.low), vandq_u8(a.high, b.high)}; }
inline Quants Or(Quants a, Quants b) { return {vorrq_u8(a.low, b.low), vorrq_u8(a.high, b.high)}; }
inline Quants Minus(Quants a, Quants b) {
  return {vsubq_u8(a.low, b.low), vsubq_u8(a.high, b.high)};
}
inline Quants Plus(Quants a, int value) {
  const Quants b = Bytes(value);
  return {vaddq_u8(a.low, b.low), vaddq_u8(a.high, b.high)};
}
inline Quants Shifted2(Quants bytes) {
  return {vshlq_n_u8(bytes.low, 2), vshlq_n_u8(bytes.high, 2)};
}
inline Quants Shifted4(Quants bytes) {
  return {vshlq_n_u8(bytes.low, 4), vshlq_n_u8(bytes.high, 4)};
}
// The second and the third eight bytes change places.
inline Quants SwapMiddle(Quants bytes) {
  const uint64x2_t low = vreinterpretq_u64_u8(bytes.low), high = vreinterpretq_u64_u8(bytes.high);
  return {vreinterpretq_u8_u64(vzip1q_u64(low, high)), vreinterpretq_u8_u64(vzip2q_u64(low, high))};
}
// 16 bytes to 32: the low four bits of each, then the high four.
inline Quants Nibbles(const uint8_t* p) {
  const uint8x16_t bytes = vld1q_u8(p);
  return {vandq_u8(bytes, vdupq_n_u8(15)), vshrq_n_u8(bytes, 4)};
}
// `mask` of the bits of each of 32 bytes from bit `shift` up.
inline Quants Field(const uint8_t* p, int shift, int mask) {
  Quants bytes = Load32(p);
  if (shift != 0) {
    const int8x16_t down = vdupq_n_s8(static_cast<int8_t>(-shift));
    bytes = {vshlq_u8(bytes.low, down), vshlq_u8(bytes.high, down)};
  }
  return And(bytes, Bytes(mask));
}
// Byte i / 8 of four bytes for each of 32.
inline Quants SpreadBytes(uint32_t bytes) {
  const uint64x2_t spread[2] = {
      vcombine_u64(vcreate_u64(0), vcreate_u64(0x0101010101010101)),
      vcombine_u64(vcreate_u64(0x0202020202020202), vcreate_u64(0x0303030303030303))};
  const uint8x16_t four = vreinterpretq_u8_u32(vdupq_n_u32(bytes));
  return {vqtbl1q_u8(four, vreinterpretq_u8_u64(spread[0])),
          vqtbl1q_u8(four, vreinterpretq_u8_u64(spread[1]))};
}
// All bits set in the bytes that have those of `bits`, of which a byte belongs to each eight.
inline Quants HasBits(Quants bytes, uint64_t bits) {
  const uint8x16_t bit = vreinterpretq_u8_u64(vdupq_n_u64(bits));
  return {vtstq_u8(bytes.low, bit), vtstq_u8(bytes.high, bit)};
}
inline constexpr uint64_t kBitOfEach = 0x8040201008040201;
// Bit i of four bytes to bit 4 of byte i.
inline Quants FifthBits(const uint8_t* p) {
  return And(HasBits(SpreadBytes(LoadAs<uint32_t>(p)), kBitOfEach), Bytes(16));
}
// Each byte, below 16, replaced by an entry of a table.
inline Quants LookUp(Quants index, const int8_t* table) {
  const uint8x16_t entries = vreinterpretq_u8_s8(vld1q_s8(table));
  return {vqtbl1q_u8(entries, index.low), vqtbl1q_u8(entries, index.high)};
}

// The f16 at `offset` of each row.
inline Floats HalvesOf(const uint8_t* const* rows, int64_t offset) {
  // Two chains of insertions.
  uint16x4_t low = vdup_n_u16(LoadAs<uint16_t>(rows[0] + offset));
  uint16x4_t high = vdup_n_u16(LoadAs<uint16_t>(rows[4] + offset));
  low = vset_lane_u16(LoadAs<uint16_t>(rows[1] + offset), low, 1);
  high = vset_lane_u16(LoadAs<uint16_t>(rows[5] + offset), high, 1);
  low = vset_lane_u16(LoadAs<uint16_t>(rows[2] + offset), low, 2);
  high = vset_lane_u16(LoadAs<uint16_t>(rows[6] + offset), high, 2);
  low = vset_lane_u16(LoadAs<uint16_t>(rows[3] + offset), low, 3);
  high = vset_lane_u16(LoadAs<uint16_t>(rows[7] + offset), high, 3);
  return {vcvt_f32_f16(vreinterpret_f16_u16(low)), vcvt_f32_f16(vreinterpret_f16_u16(high))};
}
inline float HalfAt(const uint8_t* p) {
  const auto half = LoadAs<uint16_t>(p);
  return V::LoadHalf(&half);
}
// 4 x 4: column r of the result is row r.
inline void Transpose(uint32x4_t v[4]) {
  const auto low = [](uint32x4_t a, uint32x4_t b) {
    return vreinterpretq_u32_u64(vtrn1q_u64(vreinterpretq_u64_u32(a), vreinterpretq_u64_u32(b)));
  };
  const auto high = [](uint32x4_t a, uint32x4_t b) {
    return vreinterpretq_u32_u64(vtrn2q_u64(vreinterpretq_u64_u32(a), vreinterpretq_u64_u32(b)));
  };
  const uint32x4_t even_01 = vtrn1q_u32(v[0], v[1]), odd_01 = vtrn2q_u32(v[0], v[1]);
  const uint32x4_t even_23 = vtrn1q_u32(v[2], v[3]), odd_23 = vtrn2q_u32(v[2], v[3]);
  v[0] = low(even_01, even_23);
  v[1] = low(odd_01, odd_23);
  v[2] = high(even_01, even_23);
  v[3] = high(odd_01, odd_23);
}
// Words `kSkip / 4` up of the 16 bytes at `offset` of each row: word[i] has a lane for each row.
template <int kSkip = 0>
inline void WordsOf(const uint8_t* const* rows, int64_t offset, Words word[4]) {
  uint32x4_t low[4], high[4];
  for (int r = 0; r < 4; ++r) {
    const uint8x16_t zero = vdupq_n_u8(0);
    low[r] = vreinterpretq_u32_u8(vextq_u8(vld1q_u8(rows[r] + offset), zero, kSkip));
    high[r] = vreinterpretq_u32_u8(vextq_u8(vld1q_u8(rows[r + 4] + offset), zero, kSkip));
  }
  Transpose(low);
  Transpose(high);
  for (int i = 0; i < 4; ++i) word[i] = {low[i], high[i]};
}
inline Words Or(Words a, Words b) { return {vorrq_u32(a.low, b.low), vorrq_u32(a.high, b.high)}; }
inline Words ShiftedUp(Words words, int shift) {
  const int32x4_t by = vdupq_n_s32(shift);
  return {vshlq_u32(words.low, by), vshlq_u32(words.high, by)};
}
// Bits of each lane: `mask` of those from bit `shift` up.
inline Words BitsOf(Words words, int shift, int mask) {
  const Words moved = ShiftedUp(words, -shift);
  const uint32x4_t bits = vdupq_n_u32(static_cast<uint32_t>(mask));
  return {vandq_u32(moved.low, bits), vandq_u32(moved.high, bits)};
}
inline Words Less(Words words, int value) {
  const uint32x4_t less = vdupq_n_u32(static_cast<uint32_t>(value));
  return {vsubq_u32(words.low, less), vsubq_u32(words.high, less)};
}
inline Words WithLowestBit(Words words) {
  const uint32x4_t one = vdupq_n_u32(1);
  return {vorrq_u32(words.low, one), vorrq_u32(words.high, one)};
}
inline Words SignedByteOf(Words words, int byte) {
  const Words top = ShiftedUp(words, 24 - 8 * byte);
  return {vreinterpretq_u32_s32(vshrq_n_s32(vreinterpretq_s32_u32(top.low), 24)),
          vreinterpretq_u32_s32(vshrq_n_s32(vreinterpretq_s32_u32(top.high), 24))};
}
// The f16 in the lower half of each lane, and in the upper.
inline void TwoHalves(Words words, Floats* low, Floats* high) {
  const auto wide = [](uint16x4_t halves) { return vcvt_f32_f16(vreinterpret_f16_u16(halves)); };
  *low = {wide(vmovn_u32(words.low)), wide(vmovn_u32(words.high))};
  *high = {wide(vshrn_n_u32(words.low, 16)), wide(vshrn_n_u32(words.high, 16))};
}
inline void StoreFloats(Floats x, float* out) { V::Store(out, x); }
inline void StoreProducts(Floats factor, Words integers, float* out) {
  const Floats floats = {vcvtq_f32_s32(vreinterpretq_s32_u32(integers.low)),
                         vcvtq_f32_s32(vreinterpretq_s32_u32(integers.high))};
  V::Store(out, V::Mul(factor, floats));
}
inline Floats Times(Floats x, float factor) { return V::Mul(x, V::Set1(factor)); }
inline Floats Negated(Floats x) { return {vnegq_f32(x.low), vnegq_f32(x.high)}; }

// 32 elements: four points of eight, or eight of four.
template <typename Table>
inline Quants FourPoints(const Table& points, uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
  const auto two = [&points](uint64_t first, uint64_t second) {
    return vreinterpretq_u8_u64(vcombine_u64(vld1_u64(&points[first]), vld1_u64(&points[second])));
  };
  return {two(a, b), two(c, d)};
}
template <typename Table>
inline Quants EightPoints(const Table& points, const uint16_t* index) {
  uint32_t p[8];
  for (int i = 0; i < 8; ++i) p[i] = points[index[i]];
  return {vreinterpretq_u8_u32(vld1q_u32(p)), vreinterpretq_u8_u32(vld1q_u32(p + 4))};
}
inline void IndicesIQ3_S(const uint8_t* low, uint8_t ninth_bits, uint16_t* index) {
  const uint16_t bit[8] = {1, 2, 4, 8, 16, 32, 64, 128};
  const uint16x8_t ninth =
      vandq_u16(vtstq_u16(vdupq_n_u16(ninth_bits), vld1q_u16(bit)), vdupq_n_u16(0x100));
  vst1q_u16(index, vorrq_u16(vmovl_u8(vld1_u8(low)), ninth));
}
// Negates the bytes whose bit of `signs` is set.
inline Quants WithSigns(Quants quants, Quants signs, uint64_t bits) {
  const Quants negative = HasBits(signs, bits);
  // -q is (q ^ -1) - -1.
  return Minus({veorq_u8(quants.low, negative.low), veorq_u8(quants.high, negative.high)},
               negative);
}
inline Quants WithSigns(Quants quants, uint32_t signs) {
  return WithSigns(quants, SpreadBytes(signs), kBitOfEach);
}
// Seven signs in the upper bits of each byte. The eighth sign makes the number of minus signs even:
// it takes the place of the lowest bit, which the parity of the whole byte flips to.
inline uint8x16_t CompleteSigns(uint8x16_t signs) {
  const uint8x16_t odd = vandq_u8(vcntq_u8(signs), vdupq_n_u8(1));
  return veorq_u8(signs, odd);
}
inline Quants WithEightSigns(Quants quants, Quants signs) {
  return WithSigns(quants, {CompleteSigns(signs.low), CompleteSigns(signs.high)},
                   0x0180402010080402);
}
inline Quants WithSevenSigns(Quants quants, uint32_t signs) {
  // Each seven to the upper bits of a byte.
  const uint32_t moved = (signs << 1 & 0xFE) | (signs << 2 & 0xFE00) | (signs << 3 & 0xFE0000) |
                         (signs << 4 & 0xFE000000);
  return WithEightSigns(quants, SpreadBytes(moved));
}
inline Quants WithUpperSevenSigns(Quants quants, uint64_t words) {
  const uint64x2_t spread[2] = {
      vcombine_u64(vcreate_u64(0x0101010101010101), vcreate_u64(0x0303030303030303)),
      vcombine_u64(vcreate_u64(0x0505050505050505), vcreate_u64(0x0707070707070707))};
  const uint8x16_t eight = vreinterpretq_u8_u64(vdupq_n_u64(words));
  return WithEightSigns(quants, {vqtbl1q_u8(eight, vreinterpretq_u8_u64(spread[0])),
                                 vqtbl1q_u8(eight, vreinterpretq_u8_u64(spread[1]))});
}
// Bits 3, 7, 11 and 15.
inline Quants DownByTwo(uint32_t bits) {
  const uint32_t moved =
      (bits >> 2 & 2) | (bits << 2 & 0x200) | (bits << 6 & 0x20000) | (bits << 10 & 0x2000000);
  return SpreadBytes(moved);
}
inline Quants TernaryRun(const uint8_t* p, int run) {
  using Block = quant::BlockTQ1_0;
  const uint8_t* qs = p + offsetof(Block, qs);
  // The power of 3 that moves a digit to the top of each byte.
  Quants bytes, power;
  if (run < 5) {
    constexpr uint8_t kPowers[] = {1, 3, 9, 27, 81};
    bytes = Load32(qs);
    power = Bytes(kPowers[run]);
  } else {
    constexpr uint8_t kOfLast[16] = {1, 1, 1, 1, 3, 3, 3, 3, 9, 9, 9, 9, 27, 27, 27, 27};
    const uint8x16_t rest = vld1q_u8(qs + 32);
    const uint8x16_t last =
        vreinterpretq_u8_u32(vdupq_n_u32(LoadAs<uint32_t>(p + offsetof(Block, qh))));
    bytes = {rest, run == 7 ? last : rest};
    power = run == 5   ? Quants{vdupq_n_u8(1), vdupq_n_u8(3)}
            : run == 6 ? Quants{vdupq_n_u8(9), vdupq_n_u8(27)}
                       : Quants{vdupq_n_u8(81), vld1q_u8(kOfLast)};
  }
  // The digit is 3 x / 256: at least 1 from 86 on, 2 from 171 on.
  const auto digit = [](uint8x16_t x) {
    const uint8x16_t one = vcgeq_u8(x, vdupq_n_u8(86)), two = vcgeq_u8(x, vdupq_n_u8(171));
    return vsubq_u8(vsubq_u8(vdupq_n_u8(0), one), two);
  };
  return {digit(vmulq_u8(bytes.low, power.low)), digit(vmulq_u8(bytes.high, power.high))};
}

#include "backends/cpu/simd/plain_rows.inc"
#include "backends/cpu/simd/runs.inc"
#include "backends/cpu/simd/unpack.inc"
#include "backends/cpu/simd/unpack_codebook.inc"

}  // namespace bantam::cpu::neon
