// What the kernels shared by all sets with vector instructions (simd/) need to know of AVX-VNNI.
#pragma once

#include "backends/cpu/avx2/set.h"

namespace bantam::cpu::avxvnni {

// Products with quantized weights; the rest is AVX2's.
struct Isa : avx2::Isa {
  static constexpr absl::string_view kName = "avxvnni";
  static constexpr int kPanelColumns = 3;
  static const simd::Int8Kernels<Isa>* Int8KernelsOf(quant::Type type);
  static const simd::InterleavedKernels<Isa>* InterleavedKernelsOf(quant::Type type);
};

}  // namespace bantam::cpu::avxvnni
