// bantam quantize to a size: --target-size, --target-bpw and --fit in place of a recipe.
#pragma once

#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "runtime/gguf/file.h"
#include "runtime/plan/budget.h"

namespace bantam::cli {

struct BudgetArguments {
  std::string target_size, fit;
  double target_bpw = 0;
  int64_t context = 4096;
  std::string calibrate;  // a text
  int64_t chunks = 2, layers = 0;
  std::string sensitivities, save_sensitivities;  // files of measured ones

  bool Given() const { return !target_size.empty() || !fit.empty() || target_bpw > 0; }
};

void AddBudgetOptions(CLI::App& app, BudgetArguments& arguments);

// A line on how the choice was made comes back in `note`.
absl::StatusOr<plan::BudgetChoice> ChooseForBudget(const gguf::File& file,
                                                   const BudgetArguments& arguments,
                                                   const quant::Importance* importance, int threads,
                                                   std::string& note);

}  // namespace bantam::cli
