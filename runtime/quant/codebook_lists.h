// Which codebook points are close to where the elements of a group would like to be.
#pragma once

#include <cstdint>
#include <vector>

namespace bantam::quant {

// The points of a codebook as floats, and for each *state* (the nearest level of each element by
// itself, the first the lowest digit) the kNear points nearest to it, nearest first.
struct CodebookLists {
  static constexpr int kNear = 24;
  int dims = 0;                // 4 or 8
  int levels = 0;              // per element: 3 or 8, so that there are levels^dims states
  std::vector<float> points;   // dims floats each
  std::vector<uint16_t> near;  // kNear each

  const float* Point(int i) const { return points.data() + i * dims; }
  const uint16_t* Near(int state) const { return near.data() + state * kNear; }
};

// Built at the first call (some 0.1 s each) and kept. Thread-safe.
const CodebookLists& ListsIQ2_XXS();
const CodebookLists& ListsIQ2_XS();
const CodebookLists& ListsIQ2_S();
const CodebookLists& ListsIQ3_XXS();
const CodebookLists& ListsIQ3_S();
const CodebookLists& ListsIQ1();  // -1, 0, 1, without the shift

}  // namespace bantam::quant
