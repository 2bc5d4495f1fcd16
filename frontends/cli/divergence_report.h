// The figures of a comparison of two models, for people and for programs.
#pragma once

#include <string>

#include "nlohmann/json.hpp"
#include "runtime/eval/divergence.h"

namespace bantam::cli {

// A table of several lines.
std::string DivergenceReport(const eval::DivergenceResult& result);
nlohmann::ordered_json DivergenceJson(const eval::Divergence& divergence);

}  // namespace bantam::cli
