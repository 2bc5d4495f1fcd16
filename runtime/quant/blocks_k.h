// Blocks of 256 with quantized scales: Q2_K Q3_K Q4_K Q5_K Q6_K and IQ4_XS.
// See blocks.h for what the members mean and how the layouts are drawn.
#pragma once

#include <cstdint>

#include "runtime/quant/codebooks.h"
#include "runtime/quant/float16.h"
#include "runtime/quant/host_device.h"
#include "runtime/quant/type.h"

namespace bantam::quant {

// byte  0           16      80    82
//       scales[16]  qs[64]  d:f16 dmin:f16
//                                                                     2.625 bits per weight
//   scales[s]      = min[s]:4 scale[s]:4             for elements 16s .. 16s+15
//   qs[32 h + j]   = q[128h+96+j] q[128h+64+j] q[128h+32+j] q[128h+j]
//
// x[i] = d scale[i/16] q[i] - dmin min[i/16]
struct BlockQ2_K {
  static constexpr Type kType = Type::kQ2_K;
  static constexpr int kElements = 256;
  static constexpr int kGroup = 16;
  uint8_t scales[16];
  uint8_t qs[64];
  uint16_t d;
  uint16_t dmin;

  BANTAM_HOST_DEVICE float Scale(int group) const {
    return HalfToFloat(d) * static_cast<float>(scales[group] & 15);
  }
  BANTAM_HOST_DEVICE float Offset(int group) const {
    return -(HalfToFloat(dmin) * static_cast<float>(scales[group] >> 4));
  }
  BANTAM_HOST_DEVICE int Quant(int group, int j) const {
    return (qs[32 * (group >> 3) + 16 * (group & 1) + j] >> 2 * ((group >> 1) & 3)) & 3;
  }
};

// byte  0          32      96          108
//       hmask[32]  qs[64]  scales[12]  d:f16
//                                                                     3.4375 bits per weight
//   qs[32 h + j]   = q[128h+96+j].1-0 q[128h+64+j].1-0 q[128h+32+j].1-0 q[128h+j].1-0
//   hmask[j]       = q[224+j].2 ... q[32+j].2 q[j].2
//   scales[0..7]   = scale[8+k].3-0 scale[k].3-0
//   scales[8..11]  = scale[12+k].5-4 scale[8+k].5-4 scale[4+k].5-4 scale[k].5-4
//
// x[i] = d (scale[i/16] - 32) (q[i] - 4)
struct BlockQ3_K {
  static constexpr Type kType = Type::kQ3_K;
  static constexpr int kElements = 256;
  static constexpr int kGroup = 16;
  uint8_t hmask[32];
  uint8_t qs[64];
  uint8_t scales[12];
  uint16_t d;

  BANTAM_HOST_DEVICE float Scale(int group) const {
    const int low = (scales[group & 7] >> 4 * (group >> 3)) & 15;
    const int high = (scales[8 + (group & 3)] >> 2 * (group >> 2)) & 3;
    return HalfToFloat(d) * static_cast<float>((low | high << 4) - 32);
  }
  BANTAM_HOST_DEVICE int Quant(int group, int j) const {
    const int at = 16 * (group & 1) + j;
    const int low = (qs[32 * (group >> 3) + at] >> 2 * ((group >> 1) & 3)) & 3;
    const int high = (hmask[at] >> (group >> 1)) & 1;
    return (low | high << 2) - 4;
  }
};

// The scales and minimums of Q4_K and Q5_K, 6 bits each, for the eight runs of 32 elements:
//
//   scales[k]      = scale[4+k].5-4 scale[k]         k = 0..3
//   scales[4 + k]  = min[4+k].5-4 min[k]
//   scales[8 + k]  = min[4+k].3-0 scale[4+k].3-0
BANTAM_HOST_DEVICE inline int SixBitScale(const uint8_t* scales, int run) {
  return run < 4 ? scales[run] & 63 : (scales[run + 4] & 15) | (scales[run - 4] >> 6) << 4;
}
BANTAM_HOST_DEVICE inline int SixBitMin(const uint8_t* scales, int run) {
  return run < 4 ? scales[run + 4] & 63 : scales[run + 4] >> 4 | (scales[run] >> 6) << 4;
}

// byte  0     2        4           16
//       d:f16 dmin:f16 scales[12]  qs[128]       qs[32 p + j] = q[64p+32+j] q[64p+j]
//                                                                     4.5 bits per weight
// x[i] = d scale[i/32] q[i] - dmin min[i/32]
struct BlockQ4_K {
  static constexpr Type kType = Type::kQ4_K;
  static constexpr int kElements = 256;
  static constexpr int kGroup = 32;
  uint16_t d;
  uint16_t dmin;
  uint8_t scales[12];
  uint8_t qs[128];

  BANTAM_HOST_DEVICE float Scale(int group) const {
    return HalfToFloat(d) * static_cast<float>(SixBitScale(scales, group));
  }
  BANTAM_HOST_DEVICE float Offset(int group) const {
    return -(HalfToFloat(dmin) * static_cast<float>(SixBitMin(scales, group)));
  }
  BANTAM_HOST_DEVICE int Quant(int group, int j) const {
    return (qs[32 * (group >> 1) + j] >> 4 * (group & 1)) & 15;
  }
};

// byte  0     2        4           16      48
//       d:f16 dmin:f16 scales[12]  qh[32]  qs[128]
//                                                                     5.5 bits per weight
//   qs[32 p + j]  = q[64p+32+j].3-0 q[64p+j].3-0
//   qh[j]         = q[224+j].4 ... q[32+j].4 q[j].4
//
// x[i] = d scale[i/32] q[i] - dmin min[i/32]
struct BlockQ5_K {
  static constexpr Type kType = Type::kQ5_K;
  static constexpr int kElements = 256;
  static constexpr int kGroup = 32;
  uint16_t d;
  uint16_t dmin;
  uint8_t scales[12];
  uint8_t qh[32];
  uint8_t qs[128];

  BANTAM_HOST_DEVICE float Scale(int group) const {
    return HalfToFloat(d) * static_cast<float>(SixBitScale(scales, group));
  }
  BANTAM_HOST_DEVICE float Offset(int group) const {
    return -(HalfToFloat(dmin) * static_cast<float>(SixBitMin(scales, group)));
  }
  BANTAM_HOST_DEVICE int Quant(int group, int j) const {
    const int low = (qs[32 * (group >> 1) + j] >> 4 * (group & 1)) & 15;
    const int high = (qh[j] >> group) & 1;
    return low | high << 4;
  }
};

// byte  0        128     192            208
//       ql[128]  qh[64]  scales[16]:i8  d:f16
//                                                                     6.5625 bits per weight
//   ql[64 h + j]  = q[128h+64+j].3-0 q[128h+j].3-0                             j = 0..63
//   qh[32 h + j]  = q[128h+96+j].5-4 q[128h+64+j].5-4 q[128h+32+j].5-4 q[128h+j].5-4   j = 0..31
//
// x[i] = d scales[i/16] (q[i] - 32)
struct BlockQ6_K {
  static constexpr Type kType = Type::kQ6_K;
  static constexpr int kElements = 256;
  static constexpr int kGroup = 16;
  uint8_t ql[128];
  uint8_t qh[64];
  int8_t scales[16];
  uint16_t d;

  BANTAM_HOST_DEVICE float Scale(int group) const {
    return HalfToFloat(d) * static_cast<float>(scales[group]);
  }
  BANTAM_HOST_DEVICE int Quant(int group, int j) const {
    const int half = group >> 3;
    const int low = (ql[64 * half + 16 * (group & 3) + j] >> 4 * ((group >> 2) & 1)) & 15;
    const int high = (qh[32 * half + 16 * (group & 1) + j] >> 2 * ((group >> 1) & 3)) & 3;
    return (low | high << 4) - 32;
  }
};

// byte  0     2             4            8
//       d:f16 scales_h:u16  scales_l[4]  qs[128]
//                                                                     4.25 bits per weight
//   scales_h      = scale[7].5-4 ... scale[1].5-4 scale[0].5-4
//   scales_l[k]   = scale[2k+1].3-0 scale[2k].3-0
//   qs[16 s + j]  = q[32s+16+j] q[32s+j]
//
// x[i] = d (scale[i/32] - 32) level[q[i]]
struct BlockIQ4_XS {
  static constexpr Type kType = Type::kIQ4_XS;
  static constexpr int kElements = 256;
  static constexpr int kGroup = 16;
  uint16_t d;
  uint16_t scales_h;
  uint8_t scales_l[4];
  uint8_t qs[128];

  BANTAM_HOST_DEVICE float Scale(int group) const {
    const int run = group >> 1;
    const int low = (scales_l[run >> 1] >> 4 * (run & 1)) & 15;
    const int high = (scales_h >> 2 * run) & 3;
    return HalfToFloat(d) * static_cast<float>((low | high << 4) - 32);
  }
  BANTAM_HOST_DEVICE int Quant(int group, int j) const {
    return LevelIQ4((qs[16 * (group >> 1) + j] >> 4 * (group & 1)) & 15);
  }
};

}  // namespace bantam::quant
