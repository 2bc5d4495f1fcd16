// As avx2/vectors.h. A "register" is two of NEON's, so that the loops over them are as wide as the
// processor can keep busy.
#pragma once

#include <arm_neon.h>

#include <cstdint>

namespace bantam::cpu::neon {

struct Floats {
  float32x4_t low, high;
};

struct V {
  using Type = Floats;
  struct Mask {
    uint32x4_t low, high;
  };
  using Four = float32x4_t;
  using Quad = float32x4_t;
  static constexpr int kWidth = 8;
  static Type Zero() { return Set1(0.0f); }
  static Type Set1(float x) { return {vdupq_n_f32(x), vdupq_n_f32(x)}; }
  static Type Load(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4)}; }
  static Type LoadHalves(const uint16_t* p) {
    const float16x8_t halves = vreinterpretq_f16_u16(vld1q_u16(p));
    return {vcvt_f32_f16(vget_low_f16(halves)), vcvt_high_f32_f16(halves)};
  }
  static float LoadHalf(const uint16_t* p) {
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(*p))), 0);
  }
  static Type LoadBrains(const uint8_t* p) {
    const uint16x8_t bits = vreinterpretq_u16_u8(vld1q_u8(p));
    return {vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(bits), 16)),
            vreinterpretq_f32_u32(vshll_high_n_u16(bits, 16))};
  }
  static void Store(float* p, Type x) {
    vst1q_f32(p, x.low);
    vst1q_f32(p + 4, x.high);
  }
  static void StoreHalves(uint16_t* p, Type x) {
    vst1q_u16(p, vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(x.low), x.high)));
  }
  static Type Add(Type a, Type b) { return {vaddq_f32(a.low, b.low), vaddq_f32(a.high, b.high)}; }
  static Type Sub(Type a, Type b) { return {vsubq_f32(a.low, b.low), vsubq_f32(a.high, b.high)}; }
  static Type Mul(Type a, Type b) { return {vmulq_f32(a.low, b.low), vmulq_f32(a.high, b.high)}; }
  static Type Div(Type a, Type b) { return {vdivq_f32(a.low, b.low), vdivq_f32(a.high, b.high)}; }
  // a b + c, c - a b, a b - c
  static Type Fma(Type a, Type b, Type c) {
    return {vfmaq_f32(c.low, a.low, b.low), vfmaq_f32(c.high, a.high, b.high)};
  }
  static Type Fnma(Type a, Type b, Type c) {
    return {vfmsq_f32(c.low, a.low, b.low), vfmsq_f32(c.high, a.high, b.high)};
  }
  static Type Fms(Type a, Type b, Type c) {
    return Fma(a, b, {vnegq_f32(c.low), vnegq_f32(c.high)});
  }
  // Where `a` is no number: `b`.
  static Type Max(Type a, Type b) {
    return {vmaxnmq_f32(a.low, b.low), vmaxnmq_f32(a.high, b.high)};
  }
  static Type Round(Type x) { return {vrndnq_f32(x.low), vrndnq_f32(x.high)}; }
  static Mask IsLess(Type a, Type b) {
    return {vcltq_f32(a.low, b.low), vcltq_f32(a.high, b.high)};
  }
  static Type Select(Mask mask, Type a, Type b) {
    return {vbslq_f32(mask.low, a.low, b.low), vbslq_f32(mask.high, a.high, b.high)};
  }
  // x 2^n, for integers n from -127 to 128: in two factors, because 2^128 is no f32.
  static Type Scale(Type x, Type n) { return {ScaleFour(x.low, n.low), ScaleFour(x.high, n.high)}; }
  static float Total(Type x) { return vaddvq_f32(vaddq_f32(x.low, x.high)); }
  static float Largest(Type x) { return vmaxnmvq_f32(vmaxnmq_f32(x.low, x.high)); }
  // The sums over the lanes of four registers.
  static Quad Quads(Type a, Type b, Type c, Type d) {
    return vpaddq_f32(vpaddq_f32(vaddq_f32(a.low, a.high), vaddq_f32(b.low, b.high)),
                      vpaddq_f32(vaddq_f32(c.low, c.high), vaddq_f32(d.low, d.high)));
  }
  // Those of eight registers.
  static Type Join(const Quad* quads) { return {quads[0], quads[1]}; }
  static Four Totals(Type a, Type b, Type c, Type d) { return Quads(a, b, c, d); }
  static void StoreFour(float* p, Four x) { vst1q_f32(p, x); }
  static void AddFour(float* p, Four x) { vst1q_f32(p, vaddq_f32(vld1q_f32(p), x)); }

  // Of pairs in neighbouring lanes, (a[0], a[1]) and so on, times four complex numbers.
  static Type TimesComplex(Type a, const float* cosines, const float* sines) {
    const float32x4_t c = vld1q_f32(cosines), s = vld1q_f32(sines);
    const float32x4_t x = vuzp1q_f32(a.low, a.high), y = vuzp2q_f32(a.low, a.high);
    const float32x4_t even = vfmaq_f32(vnegq_f32(vmulq_f32(y, s)), x, c);
    const float32x4_t odd = vfmaq_f32(vmulq_f32(x, s), y, c);
    return {vzip1q_f32(even, odd), vzip2q_f32(even, odd)};
  }

 private:
  static float32x4_t ScaleFour(float32x4_t x, float32x4_t n) {
    const int32x4_t exponent = vcvtq_s32_f32(n), bias = vdupq_n_s32(127);
    const int32x4_t half = vshrq_n_s32(exponent, 1), rest = vsubq_s32(exponent, half);
    x = vmulq_f32(x, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(half, bias), 23)));
    return vmulq_f32(x, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(rest, bias), 23)));
  }
};

#include "backends/cpu/simd/float_types.inc"

struct D {
  struct Type {
    float64x2_t low, high;
  };
  static constexpr int kWidth = 4;
  static Type Zero() { return Set1(0.0); }
  static Type Set1(double x) { return {vdupq_n_f64(x), vdupq_n_f64(x)}; }
  static Type Load(const double* p) { return {vld1q_f64(p), vld1q_f64(p + 2)}; }
  static void StoreFloats(float* p, Type x) {
    vst1q_f32(p, vcvt_high_f32_f64(vcvt_f32_f64(x.low), x.high));
  }
  static Type Add(Type a, Type b) { return {vaddq_f64(a.low, b.low), vaddq_f64(a.high, b.high)}; }
  static Type Mul(Type a, Type b) { return {vmulq_f64(a.low, b.low), vmulq_f64(a.high, b.high)}; }
  static Type Fma(Type a, Type b, Type c) {
    return {vfmaq_f64(c.low, a.low, b.low), vfmaq_f64(c.high, a.high, b.high)};
  }
  static Type Fnma(Type a, Type b, Type c) {
    return {vfmsq_f64(c.low, a.low, b.low), vfmsq_f64(c.high, a.high, b.high)};
  }
  static Type Round(Type x) { return {vrndnq_f64(x.low), vrndnq_f64(x.high)}; }
  // The lower and the upper lanes of a register of f32.
  static Type Lower(V::Type x) { return Wide(x.low); }
  static Type Upper(V::Type x) { return Wide(x.high); }
  static double Total(Type x) { return vaddvq_f64(vaddq_f64(x.low, x.high)); }
  // A complex number turned by n quarters, n a whole number below 2^31.
  static void TurnQuarters(Type n, Type& sine, Type& cosine) {
    TurnTwo(n.low, sine.low, cosine.low);
    TurnTwo(n.high, sine.high, cosine.high);
  }

 private:
  static Type Wide(float32x4_t x) { return {vcvt_f64_f32(vget_low_f32(x)), vcvt_high_f64_f32(x)}; }
  static void TurnTwo(float64x2_t n, float64x2_t& sine, float64x2_t& cosine) {
    // Odd ones swap the two, bit 1 of n negates the sine and of n + 1 the cosine.
    const int64x2_t turns = vcvtq_s64_f64(n);
    const uint64x2_t swap = vtstq_s64(turns, vdupq_n_s64(1));
    const int64x2_t next = vaddq_s64(turns, vdupq_n_s64(1));
    const float64x2_t swapped = vbslq_f64(swap, cosine, sine);
    cosine = WithSign(vbslq_f64(swap, sine, cosine), vshlq_n_s64(next, 62));
    sine = WithSign(swapped, vshlq_n_s64(turns, 62));
  }
  // Negates x where bit 63 is set.
  static float64x2_t WithSign(float64x2_t x, int64x2_t bits) {
    const uint64x2_t sign = vandq_u64(vreinterpretq_u64_s64(bits), vdupq_n_u64(uint64_t{1} << 63));
    return vreinterpretq_f64_u64(veorq_u64(vreinterpretq_u64_f64(x), sign));
  }
};

}  // namespace bantam::cpu::neon
