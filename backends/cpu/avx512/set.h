// What the kernels shared by all sets with vector instructions (simd/) need to know of AVX-512.
#pragma once

#include "backends/cpu/avx2/set.h"

namespace bantam::cpu::avx512 {

inline constexpr int kDotRows = 4, kDotColumns = 6;
// Attention (simd/attend.inc): what fits the registers, 32 of sixteen lanes.
inline constexpr int kMostQueries = 6, kBestQueries = 6, kMostOutputs = 4;
inline constexpr bool kReadsBlocks = true;
constexpr int kTileCells(int) { return 4; }
constexpr int kMostWidth(int outputs) { return outputs <= 2 ? 8 : outputs == 3 ? 7 : 6; }

simd::DotFn DotOf(quant::Type type, int rows, int columns);
void Quantize(const simd::ActivationRows& rows, int64_t r, const float* x);
#include "backends/cpu/simd/activate_declared.inc"
#include "backends/cpu/simd/attend_declared.inc"

// What is not here is AVX2's: it is short beside the products.
struct Isa : avx2::Isa {
  static constexpr absl::string_view kName = "avx512vnni";

  // 16 KiB of quants stay in the first-level cache.
  static constexpr int kVectorRows = 16, kVectorColumns = 4;
  static constexpr int kPanelRows = 32, kPanelColumns = 4;
  static constexpr int64_t kPanelElements = 512;
  static const simd::Int8Kernels<Isa>* Int8KernelsOf(quant::Type type);
  static const simd::InterleavedKernels<Isa>* InterleavedKernelsOf(quant::Type type);
  static constexpr auto Quantize = &avx512::Quantize;

  // Products in fixed point.
  static constexpr int kFixedColumns = 6;
  static const simd::FixedKernels<Isa>* FixedKernelsOf(quant::Type type);
  static void PackFixedColumns(const float* const* x, int64_t first, int64_t end,
                               const simd::FixedColumn* to);

  static constexpr int kDotRows = avx512::kDotRows, kDotColumns = avx512::kDotColumns;
  static constexpr auto DotOf = &avx512::DotOf;

  static constexpr int kMostQueries = avx512::kMostQueries, kBestQueries = avx512::kBestQueries;
  static constexpr int kMostOutputs = avx512::kMostOutputs;
  static constexpr bool kReadsBlocks = avx512::kReadsBlocks;
  static constexpr auto Scores = &avx512::Scores;
  static constexpr auto Accumulate = &avx512::Accumulate;
  static constexpr auto DecodeCells = &avx512::DecodeCells;
  static constexpr auto Weigh = &avx512::Weigh;

  static constexpr auto ActivationOf = &avx512::ActivationOf;
};

}  // namespace bantam::cpu::avx512
