// The backend "cuda": devices cuda:0, cuda:1, ... in the order of the driver.
#pragma once

#include <memory>

#include "runtime/device/registry.h"

namespace bantam::cuda {

std::unique_ptr<device::Backend> NewBackend();

}  // namespace bantam::cuda
