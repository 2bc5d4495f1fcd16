// What the kernels shared by all sets with vector instructions (simd/) need to know of AVX2.
#pragma once

#include "absl/strings/string_view.h"
#include "backends/cpu/avx2/vector_ops.h"
#include "backends/cpu/simd/cells.h"
#include "backends/cpu/simd/dot.h"
#include "backends/cpu/simd/matmul_fixed.h"
#include "backends/cpu/simd/matmul_int8.h"

namespace bantam::cpu::avx2 {

inline constexpr int kDotRows = 4, kDotColumns = 3;
// Attention (simd/attend.inc): what fits the registers, 16 of eight lanes.
inline constexpr int kMostQueries = 4, kBestQueries = 3, kMostOutputs = 4;
inline constexpr bool kReadsBlocks = false;
constexpr int kTileCells(int queries) { return queries < 4 ? 4 : 2; }
constexpr int kMostWidth(int outputs) { return outputs == 1 ? 6 : outputs == 2 ? 4 : 3; }

simd::DotFn DotOf(quant::Type type, int rows, int columns);
#include "backends/cpu/simd/attend_declared.inc"
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

  // Products in fixed point (simd/matmul_fixed.h).
  static constexpr int kFixedColumns = 2;
  static const simd::FixedKernels<Isa>* FixedKernelsOf(quant::Type type);
  static void PackFixedColumns(const float* const* x, int64_t first, int64_t end,
                               const simd::FixedColumn* to);

  // Products of f32 (simd/dot.h): 1 <= rows <= kDotRows, 1 <= columns <= kDotColumns; F32, F16,
  // BF16.
  static constexpr int kDotRows = avx2::kDotRows, kDotColumns = avx2::kDotColumns;
  static constexpr auto DotOf = &avx2::DotOf;

  // Attention: so many queries and outputs at once at most; the number of queries that is best
  // where there are many (simd/attend_declared.inc).
  static constexpr int kMostQueries = avx2::kMostQueries, kBestQueries = avx2::kBestQueries;
  static constexpr int kMostOutputs = avx2::kMostOutputs;
  static constexpr bool kReadsBlocks = avx2::kReadsBlocks;
  static constexpr auto Scores = &avx2::Scores;
  static constexpr auto Accumulate = &avx2::Accumulate;
  static constexpr auto DecodeCells = &avx2::DecodeCells;
  static constexpr auto Weigh = &avx2::Weigh;

  // The rest of vector_ops.h.
  static constexpr auto ActivationOf = &avx2::ActivationOf;
  static constexpr auto SumOfSquares = &avx2::SumOfSquares;
  static constexpr auto ScaleBy = &avx2::ScaleBy;
  static constexpr auto FloatsToHalves = &avx2::FloatsToHalves;
  static constexpr auto Angles = &avx2::Angles;
  static constexpr auto RotateHalves = &avx2::RotateHalves;
  static constexpr auto RotateNeighbours = &avx2::RotateNeighbours;
};

}  // namespace bantam::cpu::avx2
