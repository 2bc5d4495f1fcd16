// What the kernels shared by all sets with vector instructions (simd/) need to know of AVX2.
#pragma once

#include "absl/strings/string_view.h"
#include "backends/cpu/avx2/vector_ops.h"
#include "backends/cpu/simd/dot.h"
#include "backends/cpu/simd/matmul_int8.h"

namespace bantam::cpu::avx2 {

inline constexpr int kDotRows = 4, kDotColumns = 3, kMostOutputs = 2;

simd::DotFn DotOf(quant::Type type, int rows, int columns);
void Accumulate(float* const* out, int outputs, int64_t n, const float* keep, const float* const* p,
                const float* const* rows, int64_t count);
void Accumulate(float* const* out, int outputs, int64_t n, const float* keep, const float* const* p,
                const uint16_t* const* rows, int64_t count);
void Quantize(const simd::ActivationRows& rows, int64_t r, const float* x);

struct Isa {
  static constexpr absl::string_view kName = "avx2";

  // Products of integers (simd/matmul_int8.h). 16 KiB of quants stay in the first-level cache.
  static constexpr int kVectorRows = 8, kVectorColumns = 4;
  static constexpr int kPanelRows = 16, kPanelColumns = 2;
  static constexpr int64_t kPanelElements = 1024;
  // Null for the types that are not quantized.
  static const simd::Int8Kernels<Isa>* Int8KernelsOf(quant::Type type);
  static const simd::InterleavedKernels<Isa>* InterleavedKernelsOf(quant::Type type);
  // Row r of `rows` from k floats.
  static constexpr auto Quantize = &avx2::Quantize;

  // Products of f32 (simd/dot.h): 1 <= rows <= kDotRows, 1 <= columns <= kDotColumns; F32, F16,
  // BF16.
  static constexpr int kDotRows = avx2::kDotRows, kDotColumns = avx2::kDotColumns;
  static constexpr auto DotOf = &avx2::DotOf;

  // out[o][i] = out[o][i] * keep[o] + sum over c < count of p[o][c] * rows[c][i], for i < n and up
  // to kMostOutputs outputs. Rows are f32 or f16.
  static constexpr int kMostOutputs = avx2::kMostOutputs;
  template <typename T>
  static void Accumulate(float* const* out, int outputs, int64_t n, const float* keep,
                         const float* const* p, const T* const* rows, int64_t count) {
    avx2::Accumulate(out, outputs, n, keep, p, rows, count);
  }

  // The rest of vector_ops.h.
  static constexpr auto ActivationOf = &avx2::ActivationOf;
  static constexpr auto Multiply = &avx2::Multiply;
  static constexpr auto SumOfSquares = &avx2::SumOfSquares;
  static constexpr auto ScaleBy = &avx2::ScaleBy;
  static constexpr auto FloatsToHalves = &avx2::FloatsToHalves;
  static constexpr auto DecodeCacheRow = &avx2::DecodeCacheRow;
  static constexpr auto Exponentials = &avx2::Exponentials;
  static constexpr auto ScaleAndMax = &avx2::ScaleAndMax;
  static constexpr auto Angles = &avx2::Angles;
  static constexpr auto RotateHalves = &avx2::RotateHalves;
  static constexpr auto RotateNeighbours = &avx2::RotateNeighbours;
};

}  // namespace bantam::cpu::avx2
