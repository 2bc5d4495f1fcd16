#include "backends/cpu/amx/kernels.h"

#include <cpuid.h>

#include <atomic>

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "backends/cpu/amx/matmul.h"
#include "backends/cpu/avx512/kernels.h"

namespace bantam::cpu::amx {
namespace {

std::atomic<bool> assumed{false};  // tiles

// Linux gives a process the room to save its tiles in (8 KiB a thread) only if it asks.
bool HasPermission() {
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;               // as a bit of XCR0
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

// The processor's tiles, and whether the operating system saves them.
bool HasTiles() {
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  constexpr unsigned kBf16 = 1u << 22, kTile = 1u << 24, kInt8 = 1u << 25;
  if ((d & kBf16) == 0 || (d & kTile) == 0 || (d & kInt8) == 0) return false;
  unsigned low, high;  // of XCR0, which is there because AVX-512 is
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  constexpr unsigned kBoth = 3u << 17;
  return (low & kBoth) == kBoth;
}

bool HasConversionsToBf16() {
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 5) != 0;
}

bool RunsHere() {
  if (!avx512::Kernels().runs_here() || !HasConversionsToBf16()) return false;
  static const bool kHasTiles = HasTiles() && HasPermission();
  return kHasTiles || TilesAreAssumed();
}

KernelSet MakeKernels() {
  KernelSet set = avx512::Kernels();
  set.name = "amx";
  set.isa = "AVX-512 AMX";
  set.runs_here = &RunsHere;
  set.int8_dots = &Int8Dots;
  set.ubatch = 512;
  const auto use = [&set](graph::Op op, Prepare prepare) {
    set.prepare[static_cast<size_t>(op)] = prepare;
  };
  use(graph::Op::kMatMul, &PrepareMatMul);
  use(graph::Op::kMatMulExpert, &PrepareMatMulExpert);
  return set;
}

}  // namespace

void AssumeTiles() { assumed = true; }
bool TilesAreAssumed() { return assumed; }

const KernelSet& Kernels() {
  static const KernelSet kKernels = MakeKernels();
  return kKernels;
}

}  // namespace bantam::cpu::amx
