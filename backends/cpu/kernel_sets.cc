#include "backends/cpu/kernel_sets.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "backends/cpu/reference/kernels.h"
#ifdef BANTAM_CPU_X86
#include "backends/cpu/amx/kernels.h"
#include "backends/cpu/avx2/kernels.h"
#include "backends/cpu/avx512/kernels.h"
#include "backends/cpu/avxvnni/kernels.h"
#elif defined(BANTAM_CPU_ARM64)
#include "backends/cpu/neon/kernels.h"
#endif

namespace bantam::cpu {
namespace {

// The slowest first.
std::vector<const KernelSet*> All() {
  std::vector<const KernelSet*> sets = {
      &reference::kKernels,
#ifdef BANTAM_CPU_X86
      &avx2::Kernels(),
      &avxvnni::Kernels(),
      &avx512::Kernels(),
#elif defined(BANTAM_CPU_ARM64)
      &neon::Kernels(),
      &neon::KernelsI8mm(),
#endif
  };
#ifdef BANTAM_CPU_X86
  // Tiles that a test plays are slower than anything.
  sets.insert(amx::TilesAreAssumed() ? sets.begin() + 1 : sets.end(), &amx::Kernels());
#endif
  return sets;
}

}  // namespace

const KernelSet& PortableKernels() { return reference::kKernels; }

absl::StatusOr<const KernelSet*> ChooseKernels(absl::string_view name) {
  const KernelSet* fastest = nullptr;
  std::string names;
  for (const KernelSet* set : All()) {
    if (!set->runs_here()) continue;
    if (set->name == name) return set;
    fastest = set;
    absl::StrAppend(&names, names.empty() ? "" : ", ", set->name);
  }
  if (name.empty()) return fastest;
  return absl::InvalidArgumentError(
      absl::StrCat("no instruction set '", name, "' on this processor; there is: ", names));
}

}  // namespace bantam::cpu
