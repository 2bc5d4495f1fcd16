#include <immintrin.h>

#include <type_traits>
#include <utility>

#include "backends/cpu/avx512/isa.h"
#include "backends/cpu/avx512/kernels.h"

BANTAM_AVX512_BEGIN

namespace bantam::cpu::avx512 {

#include "backends/cpu/simd/unroll.inc"

int64_t Int8Dots(int64_t iterations) {
  constexpr int kSums = 12;  // enough to hide the latency of the instruction
  __m512i sum[kSums], x = _mm512_set1_epi8(3), w = _mm512_set1_epi8(5);
  for (__m512i& s : sum) s = _mm512_setzero_si512();
  for (int64_t n = 0; n < iterations; ++n) {
    Unroll<kSums>([&](auto i) __attribute__((always_inline)) {
      asm volatile("" : "+v"(w));  // not a constant
      sum[i] = _mm512_dpbusd_epi32(sum[i], x, w);
    });
  }
  Unroll<kSums>([&](auto i) __attribute__((always_inline)) { asm volatile("" : : "v"(sum[i])); });
  return iterations * kSums * 64 * 2;
}

}  // namespace bantam::cpu::avx512

BANTAM_AVX512_END
