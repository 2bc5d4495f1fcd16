// The angles of rotary embedding for shaders/rope.comp.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/graph/graph.h"

namespace bantam::vulkan {

struct RopeTable {
  // For each pair its frequency in turns per position, fixed-point with 32 integer and 64
  // fractional bits: three words, the highest first.
  std::vector<uint32_t> words;
  float magnitude;  // rotated vectors are multiplied by it
};
RopeTable MakeRopeTable(const graph::RopeAttrs& attrs);

}  // namespace bantam::vulkan
