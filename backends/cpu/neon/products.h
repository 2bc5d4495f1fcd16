// What integer products of both sets have in common. Rows of weights are lanes: eight in a pair of
// registers. All quants fit signed bytes, so that every inner sum is one instruction.
#pragma once

#include <array>

#include "backends/cpu/neon/interleaved.h"
#include "backends/cpu/neon/set.h"
#include "backends/cpu/neon/unpack.h"

namespace bantam::cpu::neon {

using simd::ActivationRow;
using simd::kRun;
using simd::RunOfActivations;

// Eight integers, and one step of the outer sum for eight rows.
struct Products {
  int32x4_t low, high;
};
template <typename T>
inline Floats LessBias(Products products, int32_t x_sum) {
  if constexpr (T::kBias != 0) {
    const int32x4_t bias = vdupq_n_s32(T::kBias * x_sum);
    products = {vsubq_s32(products.low, bias), vsubq_s32(products.high, bias)};
  }
  return {vcvtq_f32_s32(products.low), vcvtq_f32_s32(products.high)};
}
// A run whose weights have one scale ...
template <typename T>
inline Floats AddGroup(Floats sum, Products products, int32_t x_sum, const float* scale,
                       const float* min, float d, float total) {
  sum = V::Fma(LessBias<T>(products, x_sum), V::Mul(V::Load(scale), V::Set1(d)), sum);
  if constexpr (T::kHasMin) sum = V::Fma(V::Load(min), V::Set1(total), sum);
  return sum;
}
// ... or two: the first half, by the weights' scales alone, and the other, then both by that of the
// activations.
template <typename T>
inline Floats HalfRun(Products products, int32_t x_sum, const float* scale, const float* min) {
  const Floats scaled = V::Mul(LessBias<T>(products, x_sum), V::Load(scale));
  if constexpr (!T::kHasMin) return scaled;
  return V::Fma(V::Load(min), V::Set1(static_cast<float>(x_sum)), scaled);
}
template <typename T>
inline Floats AddHalves(Floats sum, Floats first, Products products, int32_t x_sum,
                        const float* scale, const float* min, float d) {
  Floats both = V::Fma(LessBias<T>(products, x_sum), V::Load(scale), first);
  if constexpr (T::kHasMin) {
    both = V::Fma(V::Load(min), V::Set1(static_cast<float>(x_sum)), both);
  }
  return V::Fma(both, V::Set1(d), sum);
}

inline int8x16_t Signed(uint8x16_t bytes) { return vreinterpretq_s8_u8(bytes); }

// A run of one half of a group of interleaved weights, whose block begins at `block`.
template <typename Block>
[[gnu::always_inline]] inline interleaved::Quants RunOf(const uint8_t* block, int half, int run) {
  constexpr int kHalf = 4 * kLanes;  // bytes of a word of eight rows
  return interleaved::Unpack<Block>::Run(interleaved::From{block + half * kHalf}, run);
}

// What a product with a panel depends on; types that agree share the code.
template <int kBiasOf, int kGroupOf, bool kHasMinOf>
struct Format {
  static constexpr int kBias = kBiasOf, kGroup = kGroupOf;
  static constexpr bool kHasMin = kHasMinOf;
};
template <typename Block>
using FormatOf = Format<Unpack<Block>::kBias, Unpack<Block>::kGroup, Unpack<Block>::kHasMin>;

}  // namespace bantam::cpu::neon
