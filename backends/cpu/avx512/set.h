// What the kernels shared by all sets with vector instructions (simd/) need to know of AVX-512.
#pragma once

#include "backends/cpu/avx2/set.h"

namespace bantam::cpu::avx512 {

inline constexpr int kDotRows = 4, kDotColumns = 6, kMostOutputs = 4;

simd::DotFn DotOf(quant::Type type, int rows, int columns);
void Accumulate(float* const* out, int outputs, int64_t n, const float* keep, const float* const* p,
                const float* const* rows, int64_t count);
void Accumulate(float* const* out, int outputs, int64_t n, const float* keep, const float* const* p,
                const uint16_t* const* rows, int64_t count);

// What is not here is AVX2's: it is short beside the products.
struct Isa : avx2::Isa {
  static constexpr absl::string_view kName = "avx512vnni";

  // 16 KiB of quants stay in the first-level cache.
  static constexpr int kVectorRows = 16, kVectorColumns = 4;
  static constexpr int kPanelRows = 32, kPanelColumns = 4;
  static constexpr int64_t kPanelElements = 512;
  static const simd::Int8Kernels<Isa>* Int8KernelsOf(quant::Type type);
  static const simd::InterleavedKernels<Isa>* InterleavedKernelsOf(quant::Type type);

  static constexpr int kDotRows = avx512::kDotRows, kDotColumns = avx512::kDotColumns;
  static constexpr auto DotOf = &avx512::DotOf;

  static constexpr int kMostOutputs = avx512::kMostOutputs;
  template <typename T>
  static void Accumulate(float* const* out, int outputs, int64_t n, const float* keep,
                         const float* const* p, const T* const* rows, int64_t count) {
    avx512::Accumulate(out, outputs, n, keep, p, rows, count);
  }
};

}  // namespace bantam::cpu::avx512
