#include <array>
#include <type_traits>
#include <utility>

#include "backends/cpu/avx2/isa.h"
#include "backends/cpu/avx2/set.h"
#include "backends/cpu/avx2/unpack.h"
#include "backends/cpu/avx2/unpack_codebook.h"

BANTAM_AVX2_BEGIN

namespace bantam::cpu::avx2 {
namespace {

constexpr bool kVnni = false;
[[maybe_unused]] inline __m256i AddDots(__m256i sum, __m256i weights, __m256i x) {
  return _mm256_add_epi32(
      sum, _mm256_madd_epi16(_mm256_maddubs_epi16(weights, x), _mm256_set1_epi16(1)));
}

}  // namespace

#include "backends/cpu/avx2/matmul_int8.inc"

}  // namespace bantam::cpu::avx2

BANTAM_AVX2_END
