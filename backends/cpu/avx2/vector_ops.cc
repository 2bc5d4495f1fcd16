#include "backends/cpu/avx2/vector_ops.h"

#include <immintrin.h>

#include <cmath>
#include <cstring>

#include "backends/cpu/avx2/isa.h"
#include "backends/cpu/avx2/math.h"
#include "backends/cpu/avx2/unpack.h"
#include "runtime/quant/decode.h"

BANTAM_AVX2_BEGIN

namespace bantam::cpu::avx2 {
namespace {

using graph::Activation;

// 1 / (1 + e^-x)
inline __m256 Sigmoid(__m256 x) {
  const __m256 one = _mm256_set1_ps(1.0f);
  return _mm256_div_ps(one, _mm256_add_ps(one, Exp(_mm256_sub_ps(_mm256_setzero_ps(), x))));
}

template <Activation kActivation>
inline __m256 Activate(__m256 x) {
  if constexpr (kActivation == Activation::kSilu) return _mm256_mul_ps(x, Sigmoid(x));
  if constexpr (kActivation == Activation::kSigmoid) return Sigmoid(x);
  if constexpr (kActivation == Activation::kGeluQuick) {
    return _mm256_mul_ps(x, Sigmoid(_mm256_mul_ps(x, _mm256_set1_ps(1.702f))));
  }
  if constexpr (kActivation == Activation::kGeluTanh) {
    // (1 + tanh z) / 2 = sigmoid(2 z), z = sqrt(2 / pi) (x + 0.044715 x^3)
    const __m256 x2 = _mm256_mul_ps(x, x);
    const __m256 inner = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_set1_ps(0.044715f), x2), x, x);
    return _mm256_mul_ps(x, Sigmoid(_mm256_mul_ps(_mm256_set1_ps(1.5957691216f), inner)));
  }
}

template <Activation kActivation>
void ActivateAll(float* x, int64_t n) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    _mm256_storeu_ps(x + i, Activate<kActivation>(_mm256_loadu_ps(x + i)));
  }
  if (i < n) {
    alignas(32) float rest[8] = {};
    std::memcpy(rest, x + i, static_cast<size_t>(n - i) * sizeof(float));
    _mm256_store_ps(rest, Activate<kActivation>(_mm256_load_ps(rest)));
    std::memcpy(x + i, rest, static_cast<size_t>(n - i) * sizeof(float));
  }
}

inline float Total(__m256 v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

// Types with one scale for a block of 32 and no minimum.
template <typename Block>
void BlocksToFloats(const uint8_t* row, float* out, int64_t n) {
  using T = Unpack<Block>;
  for (int64_t i = 0; i < n; i += 32, row += sizeof(Block)) {
    const __m256 d = _mm256_set1_ps(HalfAt(row + offsetof(Block, d)));
    const __m256i quants = _mm256_sub_epi8(T::Run(row, 0), Bytes(T::kBias));
    const __m128i half[2] = {_mm256_castsi256_si128(quants), _mm256_extracti128_si256(quants, 1)};
    for (int j = 0; j < 4; ++j) {
      const __m128i eight = j % 2 == 0 ? half[j / 2] : _mm_srli_si128(half[j / 2], 8);
      _mm256_storeu_ps(out + i + 8 * j,
                       _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eight))));
    }
  }
}

}  // namespace

reference::ActivationFunction ActivationOf(Activation activation) {
  switch (activation) {
    case Activation::kSilu:
      return &ActivateAll<Activation::kSilu>;
    case Activation::kSigmoid:
      return &ActivateAll<Activation::kSigmoid>;
    case Activation::kGeluQuick:
      return &ActivateAll<Activation::kGeluQuick>;
    case Activation::kGeluTanh:
      return &ActivateAll<Activation::kGeluTanh>;
    default:
      return nullptr;
  }
}

void Multiply(float* out, const float* b, int64_t n) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    _mm256_storeu_ps(out + i, _mm256_mul_ps(_mm256_loadu_ps(out + i), _mm256_loadu_ps(b + i)));
  }
  for (; i < n; ++i) out[i] *= b[i];
}

double SumOfSquares(const float* x, int64_t n) {
  __m256d even = _mm256_setzero_pd(), odd = _mm256_setzero_pd();
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256 v = _mm256_loadu_ps(x + i);
    const __m256d a = _mm256_cvtps_pd(_mm256_castps256_ps128(v));
    const __m256d b = _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
    even = _mm256_fmadd_pd(a, a, even);
    odd = _mm256_fmadd_pd(b, b, odd);
  }
  const __m256d sum = _mm256_add_pd(even, odd);
  const __m128d half = _mm_add_pd(_mm256_castpd256_pd128(sum), _mm256_extractf128_pd(sum, 1));
  double total = _mm_cvtsd_f64(_mm_add_sd(half, _mm_unpackhi_pd(half, half)));
  for (; i < n; ++i) total += double{x[i]} * x[i];
  return total;
}

void ScaleBy(const float* x, float scale, const float* weight, float* out, int64_t n) {
  const __m256 factor = _mm256_set1_ps(scale);
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), factor);
    if (weight != nullptr) v = _mm256_mul_ps(v, _mm256_loadu_ps(weight + i));
    _mm256_storeu_ps(out + i, v);
  }
  for (; i < n; ++i) out[i] = x[i] * scale * (weight == nullptr ? 1.0f : weight[i]);
}

void FloatsToHalves(const float* x, uint16_t* out, int64_t n) {
  constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i),
                     _mm256_cvtps_ph(_mm256_loadu_ps(x + i), kNearest));
  }
  for (; i < n; ++i) {
    out[i] = static_cast<uint16_t>(_mm_cvtsi128_si32(_mm_cvtps_ph(_mm_set_ss(x[i]), kNearest)));
  }
}

void HalvesToFloats(const uint16_t* x, float* out, int64_t n) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    _mm256_storeu_ps(out + i,
                     _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x + i))));
  }
  for (; i < n; ++i) out[i] = _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(x[i])));
}

void DecodeCacheRow(quant::Type type, const uint8_t* row, float* out, int64_t n) {
  switch (type) {
    case quant::Type::kF16:
      return HalvesToFloats(reinterpret_cast<const uint16_t*>(row), out, n);
    case quant::Type::kQ8_0:
      return BlocksToFloats<quant::BlockQ8_0>(row, out, n);
    case quant::Type::kQ4_0:
      return BlocksToFloats<quant::BlockQ4_0>(row, out, n);
    default:
      return quant::DecodeRow(type, row, out, n);
  }
}

float Exponentials(float* p, int64_t n, float highest) {
  for (int64_t i = n; i % 8 != 0; ++i) p[i] = -INFINITY;
  const __m256 shift = _mm256_set1_ps(highest);
  __m256 sum = _mm256_setzero_ps();
  for (int64_t i = 0; i < n; i += 8) {
    const __m256 e = Exp(_mm256_sub_ps(_mm256_loadu_ps(p + i), shift));
    _mm256_storeu_ps(p + i, e);
    sum = _mm256_add_ps(sum, e);
  }
  return Total(sum);
}

float ScaleAndMax(float* x, int64_t n, float scale, float highest) {
  for (int64_t i = n; i % 8 != 0; ++i) x[i] = -INFINITY;
  const __m256 factor = _mm256_set1_ps(scale);
  __m256 most = _mm256_set1_ps(highest);
  for (int64_t i = 0; i < n; i += 8) {
    __m256 v = _mm256_loadu_ps(x + i);
    if (i + 8 <= n) {
      v = _mm256_mul_ps(v, factor);
      _mm256_storeu_ps(x + i, v);
    } else {
      for (int64_t j = i; j < n; ++j) x[j] *= scale;
      v = _mm256_loadu_ps(x + i);
    }
    // The second operand is the result where one is NaN.
    most = _mm256_max_ps(v, most);
  }
  __m128 m = _mm_max_ps(_mm256_castps256_ps128(most), _mm256_extractf128_ps(most, 1));
  m = _mm_max_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

void Angles(double position, const double* frequencies, const float* factors, double magnitude,
            int64_t pairs, float* cosines, float* sines) {
  for (int64_t i = 0; i < pairs; i += 4) {
    alignas(32) double theta[4] = {};
    for (int64_t j = 0; j < 4 && i + j < pairs; ++j) {
      theta[j] = position * frequencies[i + j];
      if (factors != nullptr) theta[j] /= factors[i + j];
    }
    __m256d sine, cosine;
    SinCos(_mm256_load_pd(theta), &sine, &cosine);
    const __m256d factor = _mm256_set1_pd(magnitude);
    float s[4], c[4];
    _mm_storeu_ps(s, _mm256_cvtpd_ps(_mm256_mul_pd(sine, factor)));
    _mm_storeu_ps(c, _mm256_cvtpd_ps(_mm256_mul_pd(cosine, factor)));
    for (int64_t j = 0; j < 4 && i + j < pairs; ++j) {
      sines[i + j] = s[j];
      cosines[i + j] = c[j];
    }
  }
}

void RotateHalves(const float* a, const float* b, const float* cosines, const float* sines,
                  int64_t pairs, float* out_a, float* out_b) {
  int64_t i = 0;
  for (; i + 8 <= pairs; i += 8) {
    const __m256 x = _mm256_loadu_ps(a + i), y = _mm256_loadu_ps(b + i);
    const __m256 c = _mm256_loadu_ps(cosines + i), s = _mm256_loadu_ps(sines + i);
    _mm256_storeu_ps(out_a + i, _mm256_fmsub_ps(x, c, _mm256_mul_ps(y, s)));
    _mm256_storeu_ps(out_b + i, _mm256_fmadd_ps(x, s, _mm256_mul_ps(y, c)));
  }
  for (; i < pairs; ++i) {
    const float x = a[i], y = b[i];
    out_a[i] = x * cosines[i] - y * sines[i];
    out_b[i] = x * sines[i] + y * cosines[i];
  }
}

void RotateNeighbours(const float* a, const float* cosines, const float* sines, int64_t pairs,
                      float* out) {
  int64_t i = 0;
  const __m256i twice = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
  for (; i + 4 <= pairs; i += 4) {
    const __m256 x = _mm256_loadu_ps(a + 2 * i);
    const __m256 c =
        _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(cosines + i)), twice);
    const __m256 s =
        _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(sines + i)), twice);
    // Even lanes x c - y s, odd ones y c + x s.
    const __m256 swapped = _mm256_mul_ps(_mm256_permute_ps(x, 0xB1), s);
    _mm256_storeu_ps(out + 2 * i, _mm256_fmaddsub_ps(x, c, swapped));
  }
  for (; i < pairs; ++i) {
    const float x = a[2 * i], y = a[2 * i + 1];
    out[2 * i] = x * cosines[i] - y * sines[i];
    out[2 * i + 1] = x * sines[i] + y * cosines[i];
  }
}

}  // namespace bantam::cpu::avx2

BANTAM_AVX2_END
