// Devices that are only described.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "runtime/schedule/cost.h"

namespace bantam::testing {

inline schedule::DeviceProfile Gpu(std::string name, double gib, double bandwidth,
                                   double operations) {
  schedule::DeviceProfile gpu;
  gpu.name = std::move(name);
  gpu.capacity = static_cast<uint64_t>(gib * (uint64_t{1} << 30));
  gpu.alignment = 256;
  gpu.bandwidth = bandwidth;
  gpu.operations = operations;
  gpu.node_seconds = 3e-6;
  gpu.transfer_seconds = 1.5e-5;
  gpu.transfer_bandwidth = 1.2e10;
  return gpu;
}

inline schedule::DeviceProfile Cpu() {
  schedule::DeviceProfile cpu;
  cpu.name = "cpu";
  cpu.bandwidth = 4e10;
  cpu.operations = 5e11;
  return cpu;
}

}  // namespace bantam::testing
