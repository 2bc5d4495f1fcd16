#include <immintrin.h>

#include "backends/cpu/avxvnni/isa.h"
#include "backends/cpu/avxvnni/kernels.h"

BANTAM_AVXVNNI_BEGIN

namespace bantam::cpu::avxvnni {

int64_t Int8Dots(int64_t iterations) {
  constexpr int kSums = 12;  // enough to hide the latency of the instruction
  __m256i sum[kSums], x = _mm256_set1_epi8(3), w = _mm256_set1_epi8(5);
  for (__m256i& s : sum) s = _mm256_setzero_si256();
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 12
    for (__m256i& s : sum) {
      asm volatile("" : "+x"(w));  // not a constant
      s = _mm256_dpbusd_avx_epi32(s, x, w);
    }
  }
  for (__m256i& s : sum) asm volatile("" : : "x"(s));
  return iterations * kSums * 32 * 2;
}

}  // namespace bantam::cpu::avxvnni

BANTAM_AVXVNNI_END
