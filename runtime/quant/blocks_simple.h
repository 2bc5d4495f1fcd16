// Blocks of one scale: Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q8_1 Q8_K, IQ4_NL, TQ1_0 TQ2_0, MXFP4 NVFP4.
// See blocks.h for what the members mean and how the layouts are drawn.
#pragma once

#include <cstdint>

#include "runtime/quant/codebooks.h"
#include "runtime/quant/float16.h"
#include "runtime/quant/host_device.h"
#include "runtime/quant/type.h"

namespace bantam::quant {

// byte  0     2
//       d:f16 qs[16]        qs[j] = q[16+j] q[j]                      4.5 bits per weight
//
// x[i] = d (q[i] - 8)
struct BlockQ4_0 {
  static constexpr Type kType = Type::kQ4_0;
  static constexpr int kElements = 32;
  static constexpr int kGroup = 16;
  uint16_t d;
  uint8_t qs[16];

  BANTAM_HOST_DEVICE float Scale(int) const { return HalfToFloat(d); }
  BANTAM_HOST_DEVICE int Quant(int group, int j) const { return ((qs[j] >> 4 * group) & 15) - 8; }
};

// byte  0     2     4
//       d:f16 m:f16 qs[16]  qs[j] = q[16+j] q[j]                      5 bits per weight
//
// x[i] = d q[i] + m
struct BlockQ4_1 {
  static constexpr Type kType = Type::kQ4_1;
  static constexpr int kElements = 32;
  static constexpr int kGroup = 16;
  uint16_t d;
  uint16_t m;
  uint8_t qs[16];

  BANTAM_HOST_DEVICE float Scale(int) const { return HalfToFloat(d); }
  BANTAM_HOST_DEVICE float Offset(int) const { return HalfToFloat(m); }
  BANTAM_HOST_DEVICE int Quant(int group, int j) const { return (qs[j] >> 4 * group) & 15; }
};

// The 5-bit quants of elements 8 group .. 8 group + 7 of Q5_0 and Q5_1, one to a byte: the low four
// bits as in Q4_0, the fifth in bit i of `qh`.
BANTAM_HOST_DEVICE inline uint64_t FiveBitQuants(const uint8_t* qs, const uint8_t* qh, int group) {
  const uint64_t low = LoadWord(qs + 8 * (group & 1)) >> 4 * (group >> 1);
  return (low & AllBytes(15)) | (SpreadBits(qh[group]) << 4);
}

// byte  0     2      6
//       d:f16 qh[4]  qs[16]     qs[j] = q[16+j].3-0 q[j].3-0,
//                               bit i%8 of qh[i/8] = q[i].4           5.5 bits per weight
// x[i] = d (q[i] - 16)
struct BlockQ5_0 {
  static constexpr Type kType = Type::kQ5_0;
  static constexpr int kElements = 32;
  static constexpr int kGroup = 8;
  uint16_t d;
  uint8_t qh[4];
  uint8_t qs[16];

  BANTAM_HOST_DEVICE float Scale(int) const { return HalfToFloat(d); }
  BANTAM_HOST_DEVICE uint64_t Quants8(int group) const {
    // q - 16 in each byte, the top bit by xor to keep the carry inside.
    return (FiveBitQuants(qs, qh, group) + AllBytes(0x70)) ^ AllBytes(0x80);
  }
};

// byte  0     2     4      8
//       d:f16 m:f16 qh[4]  qs[16]   as Q5_0                           6 bits per weight
//
// x[i] = d q[i] + m
struct BlockQ5_1 {
  static constexpr Type kType = Type::kQ5_1;
  static constexpr int kElements = 32;
  static constexpr int kGroup = 8;
  uint16_t d;
  uint16_t m;
  uint8_t qh[4];
  uint8_t qs[16];

  BANTAM_HOST_DEVICE float Scale(int) const { return HalfToFloat(d); }
  BANTAM_HOST_DEVICE float Offset(int) const { return HalfToFloat(m); }
  BANTAM_HOST_DEVICE uint64_t Quants8(int group) const { return FiveBitQuants(qs, qh, group); }
};

// byte  0     2
//       d:f16 qs[32]:i8                                               8.5 bits per weight
//
// x[i] = d qs[i]
struct BlockQ8_0 {
  static constexpr Type kType = Type::kQ8_0;
  static constexpr int kElements = 32;
  static constexpr int kGroup = 32;
  uint16_t d;
  int8_t qs[32];

  BANTAM_HOST_DEVICE float Scale(int) const { return HalfToFloat(d); }
  BANTAM_HOST_DEVICE int Quant(int, int j) const { return qs[j]; }
};

// byte  0     2     4
//       d:f16 s:f16 qs[32]:i8       s = d (qs[0] + ... + qs[31])      9 bits per weight
//
// x[i] = d qs[i]. A type of activations, whose dot product with the offset of a weight block is
// offset * s. (Until 2023 d and s were f32 and the block had 40 bytes; no file holds such blocks.)
struct BlockQ8_1 {
  static constexpr Type kType = Type::kQ8_1;
  static constexpr int kElements = 32;
  static constexpr int kGroup = 32;
  uint16_t d;
  uint16_t s;
  int8_t qs[32];

  BANTAM_HOST_DEVICE float Scale(int) const { return HalfToFloat(d); }
  BANTAM_HOST_DEVICE int Quant(int, int j) const { return qs[j]; }
};

// byte  0     4           260
//       d:f32 qs[256]:i8  bsums[16]:i16     bsums[k] = qs[16k] + ... + qs[16k+15]
//                                                                     9.125 bits per weight
// x[i] = d qs[i]. A type of activations.
struct BlockQ8_K {
  static constexpr Type kType = Type::kQ8_K;
  static constexpr int kElements = 256;
  static constexpr int kGroup = 256;
  float d;
  int8_t qs[256];
  int16_t bsums[16];

  BANTAM_HOST_DEVICE float Scale(int) const { return d; }
  BANTAM_HOST_DEVICE int Quant(int, int j) const { return qs[j]; }
};

// byte  0     2
//       d:f16 qs[16]        qs[j] = q[16+j] q[j]                      4.5 bits per weight
//
// x[i] = d level[q[i]]
struct BlockIQ4_NL {
  static constexpr Type kType = Type::kIQ4_NL;
  static constexpr int kElements = 32;
  static constexpr int kGroup = 16;
  uint16_t d;
  uint8_t qs[16];

  BANTAM_HOST_DEVICE float Scale(int) const { return HalfToFloat(d); }
  BANTAM_HOST_DEVICE int Quant(int group, int j) const {
    return LevelIQ4((qs[j] >> 4 * group) & 15);
  }
};

// byte  0       48     52
//       qs[48]  qh[4]  d:f16                                          1.6875 bits per weight
//
// A byte holds five ternary digits t (four in qh), the first the most significant, as the fraction
// ceil(256 (81 t0 + 27 t1 + 9 t2 + 3 t3 + t4) / 243) / 256: multiplying it by three carries the
// next digit out.
//
//   x[  0..159] = digit i/32 of qs[i%32]
//   x[160..239] = digit (i-160)/16 of qs[32 + (i-160)%16]
//   x[240..255] = digit (i-240)/4 of qh[(i-240)%4]
//
// x[i] = d (digit - 1)
struct BlockTQ1_0 {
  static constexpr Type kType = Type::kTQ1_0;
  static constexpr int kElements = 256;
  static constexpr int kGroup = 16;
  uint8_t qs[48];
  uint8_t qh[4];
  uint16_t d;

  BANTAM_HOST_DEVICE float Scale(int) const { return HalfToFloat(d); }
  BANTAM_HOST_DEVICE int Quant(int group, int j) const {
    if (group < 10) return Digit(qs[16 * (group & 1) + j], PowerOf3(group >> 1));
    if (group < 15) return Digit(qs[32 + j], PowerOf3(group - 10));
    return Digit(qh[j & 3], PowerOf3(j >> 2));
  }

 private:
  // 1, 3, 9, 27, 81
  BANTAM_HOST_DEVICE static int PowerOf3(int n) {
    return static_cast<int>(0x511B090301u >> 8 * n) & 0xFF;
  }
  BANTAM_HOST_DEVICE static int Digit(uint8_t packed, int power) {
    return (((packed * power) & 0xFF) * 3 >> 8) - 1;
  }
};

// byte  0       64
//       qs[64]  d:f16       qs[32 h + j] = q[128h+96+j] q[128h+64+j] q[128h+32+j] q[128h+j]
//                                                                     2.0625 bits per weight
// x[i] = d (q[i] - 1)
struct BlockTQ2_0 {
  static constexpr Type kType = Type::kTQ2_0;
  static constexpr int kElements = 256;
  static constexpr int kGroup = 32;
  uint8_t qs[64];
  uint16_t d;

  BANTAM_HOST_DEVICE float Scale(int) const { return HalfToFloat(d); }
  BANTAM_HOST_DEVICE int Quant(int group, int j) const {
    return ((qs[32 * (group >> 2) + j] >> 2 * (group & 3)) & 3) - 1;
  }
};

// E2M1 of the OCP Microscaling specification 1.0, section 5.3.3 (s ee m, bias 1), doubled to be an
// integer: 0 1 2 3 4 6 8 12 and their negatives. Eight codes in the low four bits of the bytes of
// `codes` to eight int8.
BANTAM_HOST_DEVICE inline uint64_t DoubledE2M1(uint64_t codes) {
  const uint64_t c = codes & AllBytes(7);
  // c + (c > 4) + (c > 5) + 3 (c > 6): adding 8 - k carries into bit 3 where c >= k.
  const uint64_t above_4 = ((c + AllBytes(3)) >> 3) & AllBytes(1);
  const uint64_t above_5 = ((c + AllBytes(2)) >> 3) & AllBytes(1);
  const uint64_t above_6 = ((c + AllBytes(1)) >> 3) & AllBytes(1);
  const uint64_t magnitude = c + above_4 + above_5 + 3 * above_6;
  // Negated where the sign is set and the magnitude is not 0 (see NegateBytes).
  const uint64_t negative = ((codes & (c + AllBytes(7))) >> 3) & AllBytes(1);
  return (magnitude ^ (negative * 0xFF)) + negative;
}

// byte  0     1
//       e:u8  qs[16]        qs[j] = q[16+j] q[j]                      4.25 bits per weight
//
// x[i] = 2^(e - 127) e2m1(q[i]), with 2^(e - 128) for the doubled element
struct BlockMXFP4 {
  static constexpr Type kType = Type::kMXFP4;
  static constexpr int kElements = 32;
  static constexpr int kGroup = 8;
  uint8_t e;
  uint8_t qs[16];

  BANTAM_HOST_DEVICE float Scale(int) const { return HalfOfE8M0ToFloat(e); }
  BANTAM_HOST_DEVICE uint64_t Quants8(int group) const {
    return DoubledE2M1(LoadWord(qs + 8 * (group & 1)) >> 4 * (group >> 1));
  }
};

// byte  0           4
//       d[4]:ue4m3  qs[32]        qs[8 s + j] = q[16s+8+j] q[16s+j]   4.5 bits per weight
//
// x[16s + k] = d[s] e2m1(q[16s + k]), with d[s] / 2 for the doubled element. The scale of the whole
// tensor is no part of the block: files keep it in a tensor of its own.
struct BlockNVFP4 {
  static constexpr Type kType = Type::kNVFP4;
  static constexpr int kElements = 64;
  static constexpr int kGroup = 8;
  uint8_t d[4];
  uint8_t qs[32];

  BANTAM_HOST_DEVICE float Scale(int group) const { return HalfOfUE4M3ToFloat(d[group >> 1]); }
  BANTAM_HOST_DEVICE uint64_t Quants8(int group) const {
    return DoubledE2M1(LoadWord(qs + 8 * (group >> 1)) >> 4 * (group & 1));
  }
};

}  // namespace bantam::quant
