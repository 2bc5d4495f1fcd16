// Blocks of 256 that index a codebook (codebooks.h): IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S IQ1_S
// IQ1_M. Elements go in groups of eight: one point of an IQ1 or IQ2 codebook, or two of an IQ3 one.
// See blocks.h for what the members mean and how the layouts are drawn.
#pragma once

#include <cstdint>

#include "runtime/quant/codebooks.h"
#include "runtime/quant/float16.h"
#include "runtime/quant/host_device.h"
#include "runtime/quant/type.h"

namespace bantam::quant {

// byte  0     2
//       d:f16 eight runs of 32 elements, 8 bytes each:
//             0         4
//             index[4]  signs_scale:u32 = scale:4 signs[3]:7 signs[2]:7 signs[1]:7 signs[0]:7
//                                                                     2.0625 bits per weight
// x[32r + 8g + j] = d (1/2 + scale) / 4 * +-point[index[g]][j], minus where bit j of signs[g], made
// eight by CompleteSigns, is set
struct BlockIQ2_XXS {
  static constexpr Type kType = Type::kIQ2_XXS;
  static constexpr int kElements = 256;
  static constexpr int kGroup = 8;
  uint16_t d;
  struct Run {
    uint8_t index[4];
    uint16_t signs_scale[2];  // the lower half first
  } runs[8];

  BANTAM_HOST_DEVICE float Scale(int group) const {
    return HalfToFloat(d) * (0.5f + static_cast<float>(runs[group >> 2].signs_scale[1] >> 12)) *
           0.25f;
  }
  BANTAM_HOST_DEVICE uint64_t Quants8(int group) const {
    const Run& run = runs[group >> 2];
    const uint32_t signs = run.signs_scale[0] | static_cast<uint32_t>(run.signs_scale[1]) << 16;
    return NegateBytes(PointIQ2(CodeIQ2_XXS(run.index[group & 3])),
                       CompleteSigns((signs >> 7 * (group & 3)) & 127));
  }
};

// byte  0     2           66
//       d:f16 qs[32]:u16  scales[8]
//                                                                     2.3125 bits per weight
//   qs[g]      = signs:7 index:9             for elements 8g .. 8g+7
//   scales[r]  = scale[2r+1] scale[2r]       for 16 elements each
//
// x[8g + j] = d (1/2 + scale[g/2]) / 4 * +-point[index][j], signs as in IQ2_XXS
struct BlockIQ2_XS {
  static constexpr Type kType = Type::kIQ2_XS;
  static constexpr int kElements = 256;
  static constexpr int kGroup = 8;
  uint16_t d;
  uint16_t qs[32];
  uint8_t scales[8];

  BANTAM_HOST_DEVICE float Scale(int group) const {
    const int scale = (scales[group >> 2] >> 4 * ((group >> 1) & 1)) & 15;
    return HalfToFloat(d) * (0.5f + static_cast<float>(scale)) * 0.25f;
  }
  BANTAM_HOST_DEVICE uint64_t Quants8(int group) const {
    return NegateBytes(PointIQ2(CodeIQ2_XS(qs[group] & 511)), CompleteSigns(qs[group] >> 9));
  }
};

// byte  0     2       34         66     74
//       d:f16 qs[32]  signs[32]  qh[8]  scales[8]
//                                                                     2.5625 bits per weight
//   qs[g]      = index[g].7-0                 for elements 8g .. 8g+7
//   signs[g]   bit j: x[8g+j] is negative
//   qh[r]      = index[4r+3].9-8 ... index[4r].9-8
//   scales[r]  = scale[2r+1] scale[2r]        for 16 elements each
//
// x[8g + j] = d (1/2 + scale[g/2]) / 4 * +-point[index[g]][j]
struct BlockIQ2_S {
  static constexpr Type kType = Type::kIQ2_S;
  static constexpr int kElements = 256;
  static constexpr int kGroup = 8;
  uint16_t d;
  uint8_t qs[32];
  uint8_t signs[32];
  uint8_t qh[8];
  uint8_t scales[8];

  BANTAM_HOST_DEVICE float Scale(int group) const {
    const int scale = (scales[group >> 2] >> 4 * ((group >> 1) & 1)) & 15;
    return HalfToFloat(d) * (0.5f + static_cast<float>(scale)) * 0.25f;
  }
  BANTAM_HOST_DEVICE uint64_t Quants8(int group) const {
    const int index = qs[group] | ((qh[group >> 2] >> 2 * (group & 3)) & 3) << 8;
    return NegateBytes(PointIQ2(CodeIQ2_S(index)), signs[group]);
  }
};

// byte  0     2       66
//       d:f16 qs[64]  signs_scale[8]:u32 = scale:4 signs[3]:7 signs[2]:7 signs[1]:7 signs[0]:7
//                                                                     3.0625 bits per weight
//   qs[2 g], qs[2 g + 1]   indices of elements 8g .. 8g+3 and 8g+4 .. 8g+7
//
// x[i] = d (1/2 + scale[i/32]) / 2 * +-point[qs[i/4]][i%4], signs as in IQ2_XXS
struct BlockIQ3_XXS {
  static constexpr Type kType = Type::kIQ3_XXS;
  static constexpr int kElements = 256;
  static constexpr int kGroup = 8;
  uint16_t d;
  uint8_t qs[64];
  uint16_t signs_scale[8][2];  // the lower half first

  BANTAM_HOST_DEVICE float Scale(int group) const {
    return HalfToFloat(d) * (0.5f + static_cast<float>(signs_scale[group >> 2][1] >> 12)) * 0.5f;
  }
  BANTAM_HOST_DEVICE uint64_t Quants8(int group) const {
    const uint16_t* halves = signs_scale[group >> 2];
    const uint32_t signs = halves[0] | static_cast<uint32_t>(halves[1]) << 16;
    return NegateBytes(PointIQ3_XXS(CodeIQ3_XXS(qs[2 * group]), CodeIQ3_XXS(qs[2 * group + 1])),
                       CompleteSigns((signs >> 7 * (group & 3)) & 127));
  }
};

// byte  0     2       66     74         106
//       d:f16 qs[64]  qh[8]  signs[32]  scales[4]
//                                                                     3.4375 bits per weight
//   qs[k]      = index[k].7-0                 for elements 4k .. 4k+3
//   qh[r]      = index[8r+7].8 ... index[8r].8
//   signs[g]   bit j: x[8g+j] is negative
//   scales[k]  = scale[2k+1] scale[2k]        for 32 elements each
//
// x[i] = d (1 + 2 scale[i/32]) * +-point[index[i/4]][i%4]
struct BlockIQ3_S {
  static constexpr Type kType = Type::kIQ3_S;
  static constexpr int kElements = 256;
  static constexpr int kGroup = 8;
  uint16_t d;
  uint8_t qs[64];
  uint8_t qh[8];
  uint8_t signs[32];
  uint8_t scales[4];

  BANTAM_HOST_DEVICE float Scale(int group) const {
    const int scale = (scales[group >> 3] >> 4 * ((group >> 2) & 1)) & 15;
    return HalfToFloat(d) * static_cast<float>(1 + 2 * scale);
  }
  BANTAM_HOST_DEVICE uint64_t Quants8(int group) const {
    const int high = qh[group >> 2] >> 2 * (group & 3);
    const int first = qs[2 * group] | (high & 1) << 8;
    const int second = qs[2 * group + 1] | (high & 2) << 7;
    return NegateBytes(PointIQ3_S(CodeIQ3_S(first), CodeIQ3_S(second)), signs[group]);
  }
};

// byte  0     2       34
//       d:f16 qs[32]  qh[8]:u16
//                                                                     1.5625 bits per weight
//   qs[g]  = index[g].7-0                     for elements 8g .. 8g+7
//   qh[r]  = down:1 scale:3 index[4r+3].10-8 ... index[4r].10-8
//
// x[8g + j] = d (1 + 2 scale) (point[index[g]][j] -+ 1/8), minus where down is set. In eighths, so
// that the quants are integers.
struct BlockIQ1_S {
  static constexpr Type kType = Type::kIQ1_S;
  static constexpr int kElements = 256;
  static constexpr int kGroup = 8;
  uint16_t d;
  uint8_t qs[32];
  uint16_t qh[8];

  BANTAM_HOST_DEVICE float Scale(int group) const {
    const int scale = (qh[group >> 2] >> 12) & 7;
    return HalfToFloat(d) * static_cast<float>(1 + 2 * scale) * 0.125f;
  }
  BANTAM_HOST_DEVICE uint64_t Quants8(int group) const {
    const int high = qh[group >> 2];
    const int index = qs[group] | ((high >> 3 * (group & 3)) & 7) << 8;
    return PointIQ1(CodeIQ1(index), (high & 0x8000) != 0);
  }
};

// byte  0       32      48
//       qs[32]  qh[16]  scales[4]:u16
//                                                                     1.75 bits per weight
//   qs[g]      = index[g].7-0                 for elements 8g .. 8g+7
//   qh[k]      = down[2k+1]:1 index[2k+1].10-8 down[2k]:1 index[2k].10-8
//   scales[k]  = d.(4k+3)-(4k) scale[4k+3]:3 ... scale[4k]:3      d is an f16, four bits in each
//
// x[8g + j] = d (1 + 2 scale[g/2]) (point[index[g]][j] -+ 1/8), minus where down[g] is set
struct BlockIQ1_M {
  static constexpr Type kType = Type::kIQ1_M;
  static constexpr int kElements = 256;
  static constexpr int kGroup = 8;
  uint8_t qs[32];
  uint8_t qh[16];
  uint16_t scales[4];

  BANTAM_HOST_DEVICE float Scale(int group) const {
    const int d =
        scales[0] >> 12 | (scales[1] >> 12) << 4 | (scales[2] >> 12) << 8 | (scales[3] >> 12) << 12;
    const int scale = (scales[group >> 3] >> 3 * ((group >> 1) & 3)) & 7;
    return HalfToFloat(static_cast<uint16_t>(d)) * static_cast<float>(1 + 2 * scale) * 0.125f;
  }
  BANTAM_HOST_DEVICE uint64_t Quants8(int group) const {
    const int high = qh[group >> 1] >> 4 * (group & 1);
    return PointIQ1(CodeIQ1(qs[group] | (high & 7) << 8), (high & 8) != 0);
  }
};

}  // namespace bantam::quant
