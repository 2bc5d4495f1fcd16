#include "backends/cpu/avx2/dot.h"

#include <immintrin.h>

#include <array>
#include <cstring>

#include "backends/cpu/avx2/isa.h"

BANTAM_AVX2_BEGIN

namespace bantam::cpu::avx2 {
namespace {

// Eight elements, or the first `count` of them and zeros.
struct F32 {
  static constexpr int64_t kBytes = 4;
  static __m256 Load(const uint8_t* p) {
    return _mm256_loadu_ps(reinterpret_cast<const float*>(p));
  }
};
struct F16 {
  static constexpr int64_t kBytes = 2;
  static __m256 Load(const uint8_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
};
struct BF16 {
  static constexpr int64_t kBytes = 2;
  static __m256 Load(const uint8_t* p) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
};
template <typename T>
inline __m256 LoadPart(const uint8_t* p, int64_t count) {
  alignas(32) uint8_t bytes[8 * T::kBytes] = {};
  std::memcpy(bytes, p, static_cast<size_t>(count * T::kBytes));
  return T::Load(bytes);
}

// The totals of four registers.
inline __m128 Totals(__m256 a, __m256 b, __m256 c, __m256 d) {
  const __m256 s = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
  return _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
}

template <typename T, int kRows, int kColumns>
void Dot(const uint8_t* const* w, const float* const* x, float* const* out, int64_t k,
         const uint8_t* next) {
  __m256 sum[kRows][kColumns];
  const uint8_t* row[kRows];
  const float* column[kColumns];
  for (int r = 0; r < kRows; ++r) row[r] = w[r];
  for (int c = 0; c < kColumns; ++c) column[c] = x[c];
  for (int r = 0; r < kRows; ++r) {
    for (int c = 0; c < kColumns; ++c) sum[r][c] = _mm256_setzero_ps();
  }
  int64_t i = 0;
  for (; i + 8 <= k; i += 8) {
    if constexpr (kColumns == 1) {
      for (int64_t line = 0; line < kRows * 8 * T::kBytes; line += 64) {
        _mm_prefetch(reinterpret_cast<const char*>(next + i * T::kBytes * kRows + line),
                     _MM_HINT_T1);
      }
    }
    __m256 b[kColumns];
    for (int c = 0; c < kColumns; ++c) b[c] = _mm256_loadu_ps(column[c] + i);
    for (int r = 0; r < kRows; ++r) {
      const __m256 a = T::Load(row[r] + i * T::kBytes);
      for (int c = 0; c < kColumns; ++c) sum[r][c] = _mm256_fmadd_ps(a, b[c], sum[r][c]);
    }
  }
  if (i < k) {
    __m256 a[kRows];
    for (int r = 0; r < kRows; ++r) a[r] = LoadPart<T>(row[r] + i * T::kBytes, k - i);
    for (int c = 0; c < kColumns; ++c) {
      const __m256 b = LoadPart<F32>(reinterpret_cast<const uint8_t*>(column[c] + i), k - i);
      for (int r = 0; r < kRows; ++r) sum[r][c] = _mm256_fmadd_ps(a[r], b, sum[r][c]);
    }
  }
  for (int c = 0; c < kColumns; ++c) {
    const __m256 zero = _mm256_setzero_ps();
    const __m128 totals = Totals(sum[0][c], kRows > 1 ? sum[kRows > 1 ? 1 : 0][c] : zero,
                                 kRows > 2 ? sum[kRows > 2 ? 2 : 0][c] : zero,
                                 kRows > 3 ? sum[kRows > 3 ? 3 : 0][c] : zero);
    if constexpr (kRows == 4) {
      _mm_storeu_ps(out[c], _mm_add_ps(_mm_loadu_ps(out[c]), totals));
    } else {
      alignas(16) float t[4];
      _mm_store_ps(t, totals);
      for (int r = 0; r < kRows; ++r) out[c][r] += t[r];
    }
  }
}

template <typename T, int kRows>
constexpr std::array<DotFn, kDotColumns> kOfRows = {&Dot<T, kRows, 1>, &Dot<T, kRows, 2>,
                                                    &Dot<T, kRows, 3>};
template <typename T>
constexpr std::array<std::array<DotFn, kDotColumns>, kDotRows> kOfType = {
    kOfRows<T, 1>, kOfRows<T, 2>, kOfRows<T, 3>, kOfRows<T, 4>};

}  // namespace

DotFn DotOf(quant::Type type, int rows, int columns) {
  switch (type) {
    case quant::Type::kF16:
      return kOfType<F16>[rows - 1][columns - 1];
    case quant::Type::kBF16:
      return kOfType<BF16>[rows - 1][columns - 1];
    default:
      return kOfType<F32>[rows - 1][columns - 1];
  }
}

}  // namespace bantam::cpu::avx2

BANTAM_AVX2_END
