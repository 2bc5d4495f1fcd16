#include "backends/cpu/neon/kernels.h"

#if defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif

#include "backends/cpu/neon/set.h"
#include "backends/cpu/reference/kernels.h"
#include "backends/cpu/simd/attention.h"
#include "backends/cpu/simd/elementwise.h"
#include "backends/cpu/simd/matmul.h"

namespace bantam::cpu::neon {
namespace {

#if defined(__APPLE__)
bool Has(const char* feature) {
  int value = 0;
  size_t size = sizeof(value);
  return sysctlbyname(feature, &value, &size, nullptr, 0) == 0 && value != 0;
}
bool HasDotProducts() { return Has("hw.optional.arm.FEAT_DotProd"); }
bool HasMatrixProducts() { return Has("hw.optional.arm.FEAT_I8MM"); }
#elif defined(__linux__)
bool HasDotProducts() { return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0; }
bool HasMatrixProducts() { return (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0; }
#else
bool HasDotProducts() { return false; }
bool HasMatrixProducts() { return false; }
#endif

bool HasBoth() { return HasDotProducts() && HasMatrixProducts(); }

template <typename Isa>
KernelSet MakeKernels(absl::string_view isa, bool (*runs_here)(), int64_t (*int8_dots)(int64_t)) {
  KernelSet set = {Isa::kName, isa, reference::kKernels.prepare, runs_here, int8_dots};
  set.interleaves = [](quant::Type type) { return Isa::InterleavedKernelsOf(type) != nullptr; };
  const auto use = [&set](graph::Op op, Prepare prepare) {
    set.prepare[static_cast<size_t>(op)] = prepare;
  };
  use(graph::Op::kMatMul, &simd::MatMul<Isa>::Prepare);
  use(graph::Op::kMatMulExpert, &simd::MatMul<Isa>::PrepareExpert);
  // What has no panels is the same for both.
  use(graph::Op::kNorm, &simd::Elementwise<neon::Isa>::PrepareNorm);
  use(graph::Op::kRope, &simd::Elementwise<neon::Isa>::PrepareRope);
  use(graph::Op::kAttention, &simd::Attention<neon::Isa>::Prepare);
  use(graph::Op::kKvWrite, &simd::Elementwise<neon::Isa>::PrepareKvWrite);
  use(graph::Op::kGated, &simd::Elementwise<neon::Isa>::PrepareGated);
  return set;
}

}  // namespace

const KernelSet& Kernels() {
  static const KernelSet kKernels = MakeKernels<Isa>("NEON dotprod", &HasDotProducts, &Int8Dots);
  return kKernels;
}

const KernelSet& KernelsI8mm() {
  static const KernelSet kKernels = MakeKernels<IsaI8mm>("NEON i8mm", &HasBoth, &Int8MatrixDots);
  return kKernels;
}

}  // namespace bantam::cpu::neon
