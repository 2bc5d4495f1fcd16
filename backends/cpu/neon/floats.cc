// The kernels over registers of f32 that every set compiles from one source.

#include <array>
#include <cmath>
#include <cstring>
#include <utility>

#include "backends/cpu/neon/set.h"
#include "backends/cpu/neon/unpack.h"
#include "backends/cpu/neon/vectors.h"
#include "runtime/quant/decode.h"

namespace bantam::cpu::neon {
namespace {

// Sixteen signed bytes.
inline void StoreScaled(int8x16_t quants, float32x4_t d, float* out) {
  const int16x8_t half[2] = {vmovl_s8(vget_low_s8(quants)), vmovl_high_s8(quants)};
  for (int i = 0; i < 2; ++i) {
    vst1q_f32(out + 8 * i, vmulq_f32(d, vcvtq_f32_s32(vmovl_s16(vget_low_s16(half[i])))));
    vst1q_f32(out + 8 * i + 4, vmulq_f32(d, vcvtq_f32_s32(vmovl_high_s16(half[i]))));
  }
}

template <typename Block>
inline void BlockToFloats(const uint8_t* block, float* out) {
  using T = Unpack<Block>;
  const float32x4_t d = vdupq_n_f32(HalfAt(block + offsetof(Block, d)));
  const Quants quants = Minus(T::Run(block, 0), Bytes(T::kBias));
  StoreScaled(vreinterpretq_s8_u8(quants.low), d, out);
  StoreScaled(vreinterpretq_s8_u8(quants.high), d, out + 16);
}

}  // namespace

#include "backends/cpu/simd/dot.inc"
#include "backends/cpu/simd/exp.inc"

// After those.
#include "backends/cpu/simd/attend.inc"

}  // namespace bantam::cpu::neon
