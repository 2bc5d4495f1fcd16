// What the kernels shared by all sets with vector instructions (simd/) need to know of NEON.
#pragma once

#include "absl/strings/string_view.h"
#include "backends/cpu/neon/vector_ops.h"
#include "backends/cpu/simd/cells.h"
#include "backends/cpu/simd/dot.h"
#include "backends/cpu/simd/matmul_int8.h"

namespace bantam::cpu::neon {

inline constexpr int kDotRows = 4, kDotColumns = 3;
// Attention (simd/attend.inc): what fits the registers, 16 of eight lanes.
inline constexpr int kMostQueries = 4, kBestQueries = 3, kMostOutputs = 4;
inline constexpr bool kReadsBlocks = false;
constexpr int kTileCells(int queries) { return queries < 4 ? 4 : 2; }
constexpr int kMostWidth(int outputs) { return outputs == 1 ? 6 : outputs == 2 ? 4 : 3; }

simd::DotFn DotOf(quant::Type type, int rows, int columns);
#include "backends/cpu/simd/attend_declared.inc"
void Quantize(const simd::ActivationRows& rows, int64_t r, const float* x);

// As avx2/set.h; with dot products of bytes.
struct Isa {
  static constexpr absl::string_view kName = "neon";

  // 16 KiB of quants stay in the first-level cache.
  static constexpr int kVectorRows = 8, kVectorColumns = 4;
  static constexpr int kPanelRows = 16, kPanelColumns = 4;
  static constexpr int64_t kPanelElements = 1024;
  static const simd::Int8Kernels<Isa>* Int8KernelsOf(quant::Type type);
  static const simd::InterleavedKernels<Isa>* InterleavedKernelsOf(quant::Type type);
  static constexpr auto Quantize = &neon::Quantize;

  static constexpr int kDotRows = neon::kDotRows, kDotColumns = neon::kDotColumns;
  static constexpr auto DotOf = &neon::DotOf;

  static constexpr int kMostQueries = neon::kMostQueries, kBestQueries = neon::kBestQueries;
  static constexpr int kMostOutputs = neon::kMostOutputs;
  static constexpr bool kReadsBlocks = neon::kReadsBlocks;
  static constexpr auto Scores = &neon::Scores;
  static constexpr auto Accumulate = &neon::Accumulate;
  static constexpr auto DecodeCells = &neon::DecodeCells;
  static constexpr auto Weigh = &neon::Weigh;

  static constexpr auto ActivationOf = &neon::ActivationOf;
  static constexpr auto SumOfSquares = &neon::SumOfSquares;
  static constexpr auto ScaleBy = &neon::ScaleBy;
  static constexpr auto FloatsToHalves = &neon::FloatsToHalves;
  static constexpr auto Angles = &neon::Angles;
  static constexpr auto RotateHalves = &neon::RotateHalves;
  static constexpr auto RotateNeighbours = &neon::RotateNeighbours;
};

// With products of matrices of bytes besides, for panels.
struct IsaI8mm : Isa {
  static constexpr absl::string_view kName = "neoni8mm";
  static const simd::Int8Kernels<IsaI8mm>* Int8KernelsOf(quant::Type type);
  static const simd::InterleavedKernels<IsaI8mm>* InterleavedKernelsOf(quant::Type type);
};

}  // namespace bantam::cpu::neon
