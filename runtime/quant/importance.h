// How much each column of a weight matters: what an importance matrix file holds.
#pragma once

#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace bantam::quant {

// Per tensor name the mean square of the activation that each column is multiplied by: shape[0]
// values, or shape[0] * shape[2] for a tensor of experts, those of the first expert first. Only
// their ratios matter. Values are finite and not negative; all zeros mean nothing is known.
struct Importance {
  absl::flat_hash_map<std::string, std::vector<float>> weights;
};

}  // namespace bantam::quant
