#include <immintrin.h>

#include <type_traits>
#include <utility>

#include "backends/cpu/avx2/isa.h"
#include "backends/cpu/avx2/kernels.h"

BANTAM_AVX2_BEGIN

namespace bantam::cpu::avx2 {

#include "backends/cpu/simd/unroll.inc"

int64_t Int8Dots(int64_t iterations) {
  constexpr int kSums = 8;  // enough to hide the latency of the two instructions
  __m256i sum[kSums], x = _mm256_set1_epi8(3), w = _mm256_set1_epi8(5);
  for (__m256i& s : sum) s = _mm256_setzero_si256();
  for (int64_t n = 0; n < iterations; ++n) {
    Unroll<kSums>([&](auto i) __attribute__((always_inline)) {
      asm volatile("" : "+x"(w));  // not a constant
      sum[i] = _mm256_add_epi16(sum[i], _mm256_maddubs_epi16(x, w));
    });
  }
  Unroll<kSums>([&](auto i) __attribute__((always_inline)) { asm volatile("" : : "x"(sum[i])); });
  return iterations * kSums * 32 * 2;
}

}  // namespace bantam::cpu::avx2

BANTAM_AVX2_END
