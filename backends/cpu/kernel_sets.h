// The kernel sets built into this library, and the choice among them.
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "backends/cpu/plan/kernels.h"

namespace bantam::cpu {

// Plain C++ for any processor: the reference.
const KernelSet& PortableKernels();

// The set of that name ("portable", "avx2", "avxvnni", "avx512vnni", "amx", "neon", "neoni8mm");
// for
// "" the fastest this processor runs. kInvalidArgument for an unknown name or one this processor
// lacks the instructions of, with a list of those it can run.
absl::StatusOr<const KernelSet*> ChooseKernels(absl::string_view name);

}  // namespace bantam::cpu
