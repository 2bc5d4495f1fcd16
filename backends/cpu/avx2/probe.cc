#include <immintrin.h>

#include "backends/cpu/avx2/isa.h"
#include "backends/cpu/avx2/kernels.h"

BANTAM_AVX2_BEGIN

namespace bantam::cpu::avx2 {

int64_t Int8Dots(int64_t iterations) {
  constexpr int kSums = 8;  // enough to hide the latency of the two instructions
  __m256i sum[kSums], x = _mm256_set1_epi8(3), w = _mm256_set1_epi8(5);
  for (__m256i& s : sum) s = _mm256_setzero_si256();
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 8
    for (__m256i& s : sum) {
      asm volatile("" : "+x"(w));  // not a constant
      s = _mm256_add_epi16(s, _mm256_maddubs_epi16(x, w));
    }
  }
  for (__m256i& s : sum) asm volatile("" : : "x"(s));
  return iterations * kSums * 32 * 2;
}

}  // namespace bantam::cpu::avx2

BANTAM_AVX2_END
