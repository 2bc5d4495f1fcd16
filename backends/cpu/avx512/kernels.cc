#include "backends/cpu/avx512/kernels.h"

#include "backends/cpu/avx2/kernels.h"
#include "backends/cpu/avx512/set.h"
#include "backends/cpu/simd/attention.h"
#include "backends/cpu/simd/elementwise.h"
#include "backends/cpu/simd/matmul.h"

namespace bantam::cpu::avx512 {
namespace {

// The compiler's run-time support asks the operating system too (XCR0): instructions whose
// registers it does not save count as missing.
bool RunsHere() {
  return avx2::Kernels().runs_here() && __builtin_cpu_supports("avx512f") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni") &&
         __builtin_cpu_supports("avx512vbmi");
}

KernelSet MakeKernels() {
  KernelSet set = avx2::Kernels();
  set.name = "avx512vnni";
  set.isa = "AVX-512 VNNI";
  set.runs_here = &RunsHere;
  set.int8_dots = &Int8Dots;
  set.interleaves = [](quant::Type type) { return Isa::InterleavedKernelsOf(type) != nullptr; };
  const auto use = [&set](graph::Op op, Prepare prepare) {
    set.prepare[static_cast<size_t>(op)] = prepare;
  };
  use(graph::Op::kMatMul, &simd::MatMul<Isa>::Prepare);
  use(graph::Op::kMatMulExpert, &simd::MatMul<Isa>::PrepareExpert);
  use(graph::Op::kAttention, &simd::Attention<Isa>::Prepare);
  use(graph::Op::kGated, &simd::Elementwise<Isa>::PrepareGated);
  return set;
}

}  // namespace

const KernelSet& Kernels() {
  static const KernelSet kKernels = MakeKernels();
  return kKernels;
}

}  // namespace bantam::cpu::avx512
