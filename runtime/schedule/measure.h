// How fast a device is, measured once and kept.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "runtime/device/device.h"
#include "runtime/schedule/cost.h"

namespace bantam::schedule {

// Sets all of a profile but the speeds. The capacity is the memory that is free, that of a CPU
// without limit: weights can stay in the file.
void DescribeDevice(device::Device& device, DeviceProfile& profile);

// The whole profile, with speeds for weights of `type`. Takes up to a second or so.
absl::StatusOr<DeviceProfile> MeasureDevice(device::Device& device, quant::Type type);

// The same, with speeds from `folder`/devices.json where they were measured before, by device,
// description (which names driver and threads) and type (cache.h).
absl::StatusOr<DeviceProfile> ProfileDevice(device::Device& device, quant::Type type,
                                            const std::string& folder);

}  // namespace bantam::schedule
