#include "backends/cpu/avxvnni/kernels.h"

#include "backends/cpu/avx2/kernels.h"
#include "backends/cpu/avxvnni/set.h"
#include "backends/cpu/simd/matmul.h"

namespace bantam::cpu::avxvnni {
namespace {

bool RunsHere() { return avx2::Kernels().runs_here() && __builtin_cpu_supports("avxvnni"); }

KernelSet MakeKernels() {
  KernelSet set = avx2::Kernels();
  set.name = "avxvnni";
  set.isa = "AVX-VNNI";
  set.runs_here = &RunsHere;
  set.int8_dots = &Int8Dots;
  set.interleaves = [](quant::Type type) { return Isa::InterleavedKernelsOf(type) != nullptr; };
  const auto use = [&set](graph::Op op, Prepare prepare) {
    set.prepare[static_cast<size_t>(op)] = prepare;
  };
  use(graph::Op::kMatMul, &simd::MatMul<Isa>::Prepare);
  use(graph::Op::kMatMulExpert, &simd::MatMul<Isa>::PrepareExpert);
  return set;
}

}  // namespace

const KernelSet& Kernels() {
  static const KernelSet kKernels = MakeKernels();
  return kKernels;
}

}  // namespace bantam::cpu::avxvnni
