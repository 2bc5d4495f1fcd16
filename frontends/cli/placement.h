// Telling people what of a model is where.
#pragma once

#include <string>

#include "runtime/engine/engine.h"

namespace bantam::cli {

// For --verbose: the groups of each device, a table of what they take with a bar for each device,
// and the speed that is predicted. Empty with one device.
std::string DescribePlacement(const engine::Session& session);

// " (predicted 12.3)" for the speeds after a run; empty with one device.
std::string PredictedPromptSpeed(const engine::Model& model);
std::string PredictedGenerateSpeed(const engine::Model& model);

}  // namespace bantam::cli
