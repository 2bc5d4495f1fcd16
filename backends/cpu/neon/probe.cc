#include <arm_neon.h>

#include "backends/cpu/neon/isa.h"
#include "backends/cpu/neon/kernels.h"

BANTAM_DOTPROD_BEGIN

namespace bantam::cpu::neon {

int64_t Int8Dots(int64_t iterations) {
  constexpr int kSums = 16;  // enough to hide the latency of the instruction
  int32x4_t sum[kSums];
  const int8x16_t x = vdupq_n_s8(3), w = vdupq_n_s8(5);
  for (int32x4_t& s : sum) s = vdupq_n_s32(0);
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 16
    for (int32x4_t& s : sum) {
      int8x16_t operand = w;
      asm volatile("" : "+w"(operand));  // not a constant
      s = vdotq_s32(s, x, operand);
    }
  }
  for (int32x4_t& s : sum) asm volatile("" : : "w"(s));
  return iterations * kSums * 16 * 2;
}

}  // namespace bantam::cpu::neon

BANTAM_DOTPROD_END
BANTAM_I8MM_BEGIN

namespace bantam::cpu::neon {

int64_t Int8MatrixDots(int64_t iterations) {
  constexpr int kSums = 16;
  int32x4_t sum[kSums];
  const int8x16_t x = vdupq_n_s8(3), w = vdupq_n_s8(5);
  for (int32x4_t& s : sum) s = vdupq_n_s32(0);
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 16
    for (int32x4_t& s : sum) {
      int8x16_t operand = w;
      asm volatile("" : "+w"(operand));
      s = vmmlaq_s32(s, x, operand);
    }
  }
  for (int32x4_t& s : sum) asm volatile("" : : "w"(s));
  return iterations * kSums * 32 * 2;
}

}  // namespace bantam::cpu::neon

BANTAM_I8MM_END
