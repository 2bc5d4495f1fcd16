// The angles of rotary embedding for kernels/cache.cu.
#pragma once

#include <vector>

#include "runtime/graph/graph.h"

namespace bantam::cuda {

struct RopeTable {
  std::vector<double> turns;  // per position, of each pair
  float magnitude;            // rotated vectors are multiplied by it
};
RopeTable MakeRopeTable(const graph::RopeAttrs& attrs);

}  // namespace bantam::cuda
