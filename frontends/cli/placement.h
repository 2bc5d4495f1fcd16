// Telling people what of a model is where.
#pragma once

#include <span>
#include <string>

#include "runtime/engine/engine.h"

namespace bantam::cli {

struct DeviceUse {
  std::string name;
  schedule::DeviceMemory memory;
  uint64_t free = 0;  // bytes left beside that
};
// For each device of a placement a bar, what it holds in bytes, and the groups.
std::string PlacementTable(const schedule::Placement& placement, std::span<const DeviceUse> uses);

// For --verbose: the groups of each device, a table of what they take with a bar for each device,
// and the speed that is predicted. Empty with one device.
std::string DescribePlacement(const engine::Session& session);

// " (predicted 12.3)" for the speeds after a run; empty with one device.
std::string PredictedPromptSpeed(const engine::Model& model);
std::string PredictedGenerateSpeed(const engine::Model& model);

}  // namespace bantam::cli
