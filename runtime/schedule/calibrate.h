// What the tensor groups of a model take on a device: measured by running them.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "runtime/device/device.h"
#include "runtime/graph/graph.h"
#include "runtime/schedule/cost.h"

namespace bantam::schedule {

struct Calibration {
  device::Device* device = nullptr;
  DeviceProfile* profile = nullptr;
  // kResourceExhausted when the device has no room even for the groups of one layer. A device whose
  // status is not OK before is left out.
  absl::Status status = absl::OkStatus();
};

// Adds to each profile's `measured` what each group of each of `steps` takes, but for those that
// the device does not support. From `folder`/devices.json where all of it was measured before
// (cache.h); otherwise runs them, on weights of zeros, which takes a second or a few. The weights
// of a step of one token are as many as a cache does not hold, or all.
void Calibrate(std::span<Calibration> devices, std::span<const graph::Graph> steps, int64_t depth,
               const std::string& folder);

}  // namespace bantam::schedule
