#include <immintrin.h>

#include "backends/cpu/avx512/isa.h"
#include "backends/cpu/avx512/kernels.h"

BANTAM_AVX512_BEGIN

namespace bantam::cpu::avx512 {

int64_t Int8Dots(int64_t iterations) {
  constexpr int kSums = 12;  // enough to hide the latency of the instruction
  __m512i sum[kSums], x = _mm512_set1_epi8(3), w = _mm512_set1_epi8(5);
  for (__m512i& s : sum) s = _mm512_setzero_si512();
  for (int64_t i = 0; i < iterations; ++i) {
#pragma GCC unroll 12
    for (__m512i& s : sum) {
      asm volatile("" : "+v"(w));  // not a constant
      s = _mm512_dpbusd_epi32(s, x, w);
    }
  }
  for (__m512i& s : sum) asm volatile("" : : "v"(s));
  return iterations * kSums * 64 * 2;
}

}  // namespace bantam::cpu::avx512

BANTAM_AVX512_END
