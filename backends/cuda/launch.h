// Where and how large a launch of a kernel is; all that kernels and what calls them share of CUDA.
#pragma once

#include <cstdint>

namespace bantam::cuda {

using Stream = void*;  // a cudaStream_t

struct Grid {
  unsigned x = 1, y = 1;
};

}  // namespace bantam::cuda
