// Weights on devices that keep them as they are in the file.
#pragma once

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "runtime/device/device.h"

namespace bantam::device {

// Device::PackedBytes and Device::LoadWeight of such a device. kInvalidArgument for data of another
// size, or no buffer.
uint64_t PlainWeightBytes(quant::Type type, const graph::Shape& shape);
absl::Status LoadPlainWeight(quant::Type type, const graph::Shape& shape,
                             std::span<const std::byte> data, const Binding& where);

}  // namespace bantam::device
