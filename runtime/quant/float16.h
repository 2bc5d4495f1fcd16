// Conversions between f32 and the 16-bit floats, on the host and on a GPU.
//
// Integer arithmetic throughout (but on a GPU, whose instructions do the same), so that the result
// depends on no rounding mode, on no flush-to-zero setting and on no -ffast-math, and loops over
// the widening ones vectorise.
//
//   binary16 (IEEE 754)   s eeeee mmmmmmmmmm      value = (-1)^s 2^(e-15) 1.m, 2^-14 0.m for e = 0
//   bfloat16              s eeeeeeee mmmmmmm      the upper half of a binary32
#pragma once

#include <cstdint>

#include "runtime/quant/host_device.h"

namespace bantam::quant {

inline constexpr float kHalfMax = 65504.0f;

// Exact. A NaN keeps its sign and payload.
BANTAM_HOST_DEVICE inline float HalfToFloat(uint16_t half) {
#if defined(__CUDA_ARCH__)
  float value;  // one instruction, and exact
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(half));
  return value;
#else
  const int32_t magnitude = half & 0x7FFF;
  constexpr uint32_t kRebias = (127 - 15) << 23;
  // The exponent of infinities and NaNs is all ones in both formats.
  const uint32_t normal =
      (static_cast<uint32_t>(magnitude) << 13) + kRebias + (magnitude >= 0x7C00 ? kRebias : 0);
  // Subnormals are multiples of 2^-24, which are normal numbers as f32. Chosen by a mask: compilers
  // turn a conditional expression with a float product into a branch, which does not vectorise.
  const uint32_t subnormal =
      BitCast<uint32_t>(static_cast<float>(magnitude) * (1.0f / 16777216.0f));
  const uint32_t is_subnormal = static_cast<uint32_t>((magnitude - 0x0400) >> 31);
  return BitCast<float>((static_cast<uint32_t>(half & 0x8000) << 16) | (subnormal & is_subnormal) |
                        (normal & ~is_subnormal));
#endif
}

// Rounds to nearest, ties to even; beyond the range to infinity. A NaN becomes a quiet one.
BANTAM_HOST_DEVICE inline uint16_t FloatToHalf(float value) {
#if defined(__CUDA_ARCH__)
  uint16_t half;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(value));
  return half;
#else
  const uint32_t bits = BitCast<uint32_t>(value);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  constexpr uint32_t kInfinity = 0x7F800000;
  constexpr uint32_t kOverflow = 0x477FF000;   // 65520: halfway between 65504 and 65536
  constexpr uint32_t kMinNormal = 0x38800000;  // 2^-14
  if (magnitude > kInfinity) return sign | 0x7E00 | ((magnitude >> 13) & 0x01FF);
  if (magnitude >= kOverflow) return sign | 0x7C00;
  if (magnitude >= kMinNormal) {
    const uint32_t rebiased = magnitude - ((127 - 15) << 23);
    return sign | static_cast<uint16_t>((rebiased + 0x0FFF + ((rebiased >> 13) & 1)) >> 13);
  }
  // The significand in units of 2^-24. A shift of 25 or more leaves less than half a unit.
  const uint32_t exponent = magnitude >> 23;
  if (exponent < 126 - 24) return sign;
  const uint32_t shift = 126 - exponent;
  const uint32_t significand = (magnitude & 0x007FFFFF) | 0x00800000;
  const uint32_t below_half = (1u << (shift - 1)) - 1;
  return sign |
         static_cast<uint16_t>((significand + below_half + ((significand >> shift) & 1)) >> shift);
#endif
}

// Exact.
BANTAM_HOST_DEVICE inline float BFloat16ToFloat(uint16_t value) {
  return BitCast<float>(static_cast<uint32_t>(value) << 16);
}

// Rounds to nearest, ties to even; beyond the range to infinity. A NaN becomes a quiet one.
BANTAM_HOST_DEVICE inline uint16_t FloatToBFloat16(float value) {
  const uint32_t bits = BitCast<uint32_t>(value);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) return static_cast<uint16_t>((bits >> 16) | 0x0040);
  return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

// E8M0 of the OCP Microscaling specification 1.0, section 5.4.1, halved: 2^(e - 128). The
// specification's NaN (255) decodes as 2^127 in every reader of GGUF, and so it does here.
BANTAM_HOST_DEVICE inline float HalfOfE8M0ToFloat(uint8_t e) {
  const uint32_t subnormal = 0x00200000u << (e & 1);  // 2^-128 and 2^-127
  return BitCast<float>(e < 2 ? subnormal : static_cast<uint32_t>(e - 1) << 23);
}

// UE4M3 (0 eeee mmm, bias 7) halved. 0x7F, the NaN of E4M3, decodes as 0, and the sign bit is
// ignored, as in every reader of GGUF (0xFF is 240).
BANTAM_HOST_DEVICE inline float HalfOfUE4M3ToFloat(uint8_t x) {
  const int32_t magnitude = x & 0x7F;
  const uint32_t normal = (static_cast<uint32_t>(magnitude) << 20) + ((127 - 8) << 23);
  const uint32_t subnormal = BitCast<uint32_t>(static_cast<float>(magnitude) * (1.0f / 1024.0f));
  return BitCast<float>(x == 0x7F ? 0 : magnitude < 8 ? subnormal : normal);
}

}  // namespace bantam::quant
