// The backend "vulkan": devices vulkan:0, vulkan:1, ..., the discrete GPUs first.
#pragma once

#include <memory>

#include "runtime/device/registry.h"

namespace bantam::vulkan {

std::unique_ptr<device::Backend> NewBackend();

}  // namespace bantam::vulkan
