// The kernels over registers of f32 that every set compiles from one source.

#include <array>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <utility>

#include "backends/cpu/neon/set.h"
#include "backends/cpu/neon/unpack.h"
#include "backends/cpu/neon/vectors.h"
#include "runtime/quant/decode.h"

namespace bantam::cpu::neon {
namespace {

template <typename Block>
inline V::Type BlockRegister(const uint8_t* block, int i) {
  const uint8_t* const from = block + offsetof(Block, qs);
  int8x8_t quants;
  if constexpr (std::is_same_v<Block, quant::BlockQ8_0>) {
    quants = vreinterpret_s8_u8(vld1_u8(from + 8 * i));
  } else {
    // The low four bits of sixteen bytes, then the high ones.
    const uint8x8_t bytes = vld1_u8(from + i % 2 * 8);
    const uint8x8_t four = i < 2 ? vand_u8(bytes, vdup_n_u8(15)) : vshr_n_u8(bytes, 4);
    quants = vsub_s8(vreinterpret_s8_u8(four), vdup_n_s8(8));
  }
  const float32x4_t d = vdupq_n_f32(HalfAt(block + offsetof(Block, d)));
  const int16x8_t wide = vmovl_s8(quants);
  return {vmulq_f32(d, vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide)))),
          vmulq_f32(d, vcvtq_f32_s32(vmovl_high_s16(wide)))};
}

}  // namespace

#include "backends/cpu/simd/dot.inc"
#include "backends/cpu/simd/exp.inc"

// After those.
#include "backends/cpu/simd/attend.inc"

}  // namespace bantam::cpu::neon
