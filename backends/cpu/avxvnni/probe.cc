#include <immintrin.h>

#include <type_traits>
#include <utility>

#include "backends/cpu/avxvnni/isa.h"
#include "backends/cpu/avxvnni/kernels.h"

BANTAM_AVXVNNI_BEGIN

namespace bantam::cpu::avxvnni {

#include "backends/cpu/simd/unroll.inc"

int64_t Int8Dots(int64_t iterations) {
  constexpr int kSums = 12;  // enough to hide the latency of the instruction
  __m256i sum[kSums], x = _mm256_set1_epi8(3), w = _mm256_set1_epi8(5);
  for (__m256i& s : sum) s = _mm256_setzero_si256();
  for (int64_t n = 0; n < iterations; ++n) {
    Unroll<kSums>([&](auto i) __attribute__((always_inline)) {
      asm volatile("" : "+x"(w));  // not a constant
      sum[i] = _mm256_dpbusd_avx_epi32(sum[i], x, w);
    });
  }
  Unroll<kSums>([&](auto i) __attribute__((always_inline)) { asm volatile("" : : "x"(sum[i])); });
  return iterations * kSums * 32 * 2;
}

}  // namespace bantam::cpu::avxvnni

BANTAM_AVXVNNI_END
