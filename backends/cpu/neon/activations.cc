#include "backends/cpu/simd/activations.h"

#include <arm_neon.h>

#include <cmath>
#include <cstring>

#include "backends/cpu/neon/set.h"

namespace bantam::cpu::neon {
namespace {

using simd::kNoRest;
using simd::kRun;
using simd::RunOfActivations;

void QuantizeRun(const float* x, int8_t* quants, RunOfActivations& run) {
  float32x4_t v[8];
  uint32x4_t largest = vdupq_n_u32(0);
  for (int i = 0; i < 8; ++i) {
    v[i] = vld1q_f32(x + 4 * i);
    // As integers, magnitudes are in order, and infinities and NaNs above all others.
    largest = vmaxq_u32(largest, vreinterpretq_u32_f32(vabsq_f32(v[i])));
  }
  const uint32_t bits = vmaxvq_u32(largest);
  float most;
  std::memcpy(&most, &bits, sizeof(most));
  // Below this the inverse would be infinite; such a run is as good as zero.
  constexpr float kLeast = 1e-36f;
  if (!(most >= kLeast && most <= __FLT_MAX__)) {
    std::memset(quants, 0, kRun);
    run = {most < kLeast ? 0.0f : NAN, most < kLeast ? 0.0f : NAN, 0, {0, 0}, kNoRest};
    return;
  }
  const float32x4_t inverse = vdupq_n_f32(127.0f / most);
  int32_t sum[2];
  for (int half = 0; half < 2; ++half) {
    int16x8_t q[2];
    for (int i = 0; i < 2; ++i) {
      const int at = 4 * half + 2 * i;
      q[i] = vcombine_s16(vmovn_s32(vcvtnq_s32_f32(vmulq_f32(v[at], inverse))),
                          vmovn_s32(vcvtnq_s32_f32(vmulq_f32(v[at + 1], inverse))));
    }
    sum[half] = vaddvq_s16(vaddq_s16(q[0], q[1]));
    vst1q_s8(quants + 16 * half, vcombine_s8(vmovn_s16(q[0]), vmovn_s16(q[1])));
  }
  run.d = most / 127.0f;
  run.sum = sum[0] + sum[1];
  run.total = run.d * static_cast<float>(run.sum);
  run.half[0] = static_cast<int16_t>(sum[0]);
  run.half[1] = static_cast<int16_t>(sum[1]);
  run.rest = kNoRest;
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
