// What may be chosen about the backend from outside.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace bantam::cuda {

struct Settings {
  // Planes of int8 that prompts are multiplied in: 2 are 16 bits of each activation, 1 is 8 bits
  // and about half the work of the tensor cores. Up to 8 columns always have both.
  int planes = 2;
  // The library that multiplies plain weights in prompts, by its file: "": libcublas where the
  // system finds one.
  std::string cublas;
};
inline constexpr char kNoCublas[] = "0";  // as a library: own kernels

// $BANTAM_CUDA_PLANES, 1 or 2, and $BANTAM_CUDA_CUBLAS. kInvalidArgument for anything else.
absl::StatusOr<Settings> SettingsFromEnvironment();

}  // namespace bantam::cuda
