// What the kernels shared by all sets with vector instructions (simd/) need to know of AVX-VNNI.
#pragma once

#include "backends/cpu/avx2/set.h"

namespace bantam::cpu::avxvnni {

// Products of integers, and of plain types with many columns; the rest is AVX2's.
struct Isa : avx2::Isa {
  static constexpr absl::string_view kName = "avxvnni";
  static constexpr int kPanelColumns = 3;
  static const simd::Int8Kernels<Isa>* Int8KernelsOf(quant::Type type);
  static const simd::InterleavedKernels<Isa>* InterleavedKernelsOf(quant::Type type);

  // Products in fixed point.
  static constexpr int kFixedColumns = 3;
  static const simd::FixedKernels<Isa>* FixedKernelsOf(quant::Type type);
  static void PackFixedColumns(const float* const* x, int64_t first, int64_t end,
                               const simd::FixedColumn* to);
};

}  // namespace bantam::cpu::avxvnni
