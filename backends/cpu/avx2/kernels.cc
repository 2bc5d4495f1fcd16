#include "backends/cpu/avx2/kernels.h"

#include "backends/cpu/avx2/set.h"
#include "backends/cpu/reference/kernels.h"
#include "backends/cpu/simd/attention.h"
#include "backends/cpu/simd/elementwise.h"
#include "backends/cpu/simd/matmul.h"

namespace bantam::cpu::avx2 {
namespace {

bool RunsHere() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("f16c");
}

KernelSet MakeKernels() {
  KernelSet set = {"avx2", "AVX2+FMA", reference::kKernels.prepare, &RunsHere, &Int8Dots};
  set.interleaves = [](quant::Type type) { return Isa::InterleavedKernelsOf(type) != nullptr; };
  const auto use = [&set](graph::Op op, Prepare prepare) {
    set.prepare[static_cast<size_t>(op)] = prepare;
  };
  use(graph::Op::kMatMul, &simd::MatMul<Isa>::Prepare);
  use(graph::Op::kMatMulExpert, &simd::MatMul<Isa>::PrepareExpert);
  use(graph::Op::kNorm, &simd::Elementwise<Isa>::PrepareNorm);
  use(graph::Op::kRope, &simd::Elementwise<Isa>::PrepareRope);
  use(graph::Op::kAttention, &simd::Attention<Isa>::Prepare);
  use(graph::Op::kKvWrite, &simd::Elementwise<Isa>::PrepareKvWrite);
  use(graph::Op::kGated, &simd::Elementwise<Isa>::PrepareGated);
  return set;
}

}  // namespace

const KernelSet& Kernels() {
  static const KernelSet kKernels = MakeKernels();
  return kKernels;
}

}  // namespace bantam::cpu::avx2
