// What may be chosen about the backend from outside.
#pragma once

#include "absl/status/statusor.h"

namespace bantam::cuda {

struct Settings {
  // Planes of int8 that prompts are multiplied in: 2 are 16 bits of each activation, 1 is 8 bits
  // and about half the work of the tensor cores. Up to 8 columns always have both.
  int planes = 2;
};

// $BANTAM_CUDA_PLANES, 1 or 2. kInvalidArgument for anything else.
absl::StatusOr<Settings> SettingsFromEnvironment();

}  // namespace bantam::cuda
