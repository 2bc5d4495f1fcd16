// The multiple-choice knapsack: one option of each group, so that the costs add up to the least
// that fits a budget. Here: a type for each tensor of a file.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"

namespace bantam::plan {

struct Option {
  uint64_t bytes = 0;
  double cost = 0;  // finite
};

struct Selection {
  std::vector<int> choice;  // an option of each group
  uint64_t bytes = 0;
  double cost = 0;
  // No selection within the budget costs less. Equal to `cost` when this one is proven the best.
  double bound = 0;
};

// kResourceExhausted when the smallest options together exceed the budget, with how much they take.
// Exact unless more than `max_states` partial selections would have to be kept in mind at once;
// then the best found, within the stated bound.
absl::StatusOr<Selection> Select(std::span<const std::vector<Option>> groups, uint64_t budget,
                                 size_t max_states = 200'000);

}  // namespace bantam::plan
