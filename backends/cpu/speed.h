// What this machine can do at best: the yardstick of its kernels.
#pragma once

#include "absl/status/statusor.h"
#include "backends/cpu/plan/kernels.h"
#include "runtime/base/thread_pool.h"
#include "runtime/device/device.h"

namespace bantam::cpu {

// Measures with all threads of the pool. kUnimplemented for a set without int8 dot products,
// kResourceExhausted without the memory to read.
absl::StatusOr<device::Speed> MeasureSpeed(const KernelSet& kernels, ThreadPool& pool);

}  // namespace bantam::cpu
