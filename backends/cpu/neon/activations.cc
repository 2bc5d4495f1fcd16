#include "backends/cpu/simd/activations.h"

#include <arm_neon.h>

#include <cmath>
#include <cstring>

#include "backends/cpu/neon/set.h"

namespace bantam::cpu::neon {
namespace {

inline uint32_t LargestOfRun(const float* x) {
  uint32x4_t largest = vdupq_n_u32(0);
  for (int i = 0; i < 8; ++i) {
    largest = vmaxq_u32(largest, vreinterpretq_u32_f32(vabsq_f32(vld1q_f32(x + 4 * i))));
  }
  return vmaxvq_u32(largest);
}

inline void RoundRun(const float* x, float factor, int8_t* quants, int16_t (&sums)[2]) {
  const float32x4_t times = vdupq_n_f32(factor);
  for (int half = 0; half < 2; ++half) {
    int16x8_t q[2];
    for (int i = 0; i < 2; ++i) {
      const float* const at = x + 16 * half + 8 * i;
      q[i] = vcombine_s16(vmovn_s32(vcvtnq_s32_f32(vmulq_f32(vld1q_f32(at), times))),
                          vmovn_s32(vcvtnq_s32_f32(vmulq_f32(vld1q_f32(at + 4), times))));
    }
    sums[half] = vaddvq_s16(vaddq_s16(q[0], q[1]));
    vst1q_s8(quants + 16 * half, vcombine_s8(vmovn_s16(q[0]), vmovn_s16(q[1])));
  }
}

float SquaresOfRow(const float* x, int64_t n) {
  float32x4_t low = vdupq_n_f32(0), high = vdupq_n_f32(0);
  for (int64_t i = 0; i < n; i += 8) {
    const float32x4_t a = vld1q_f32(x + i), b = vld1q_f32(x + i + 4);
    low = vfmaq_f32(low, a, a);
    high = vfmaq_f32(high, b, b);
  }
  return vaddvq_f32(vaddq_f32(low, high));
}

}  // namespace

#include "backends/cpu/simd/quantize.inc"

}  // namespace bantam::cpu::neon
