#include "runtime/quant/codebook_lists.h"

#include <algorithm>
#include <functional>

#include "runtime/quant/codebooks.h"

namespace bantam::quant {
namespace {

// `levels` are the magnitudes an element may have; point(i) the word of the i-th point.
CodebookLists Make(int dims, std::vector<int> levels, int count,
                   const std::function<uint64_t(int)>& point) {
  CodebookLists lists;
  lists.dims = dims;
  lists.levels = static_cast<int>(levels.size());
  std::vector<int8_t> points(static_cast<size_t>(count * dims));
  for (int i = 0; i < count; ++i) {
    const uint64_t word = point(i);
    for (int j = 0; j < dims; ++j) {
      points[i * dims + j] = static_cast<int8_t>(word >> 8 * j);
      lists.points.push_back(points[i * dims + j]);
    }
  }
  int states = 1;
  for (int j = 0; j < dims; ++j) states *= lists.levels;
  lists.near.resize(static_cast<size_t>(states) * CodebookLists::kNear);
  std::vector<uint32_t> keys(count);  // distance, then index: the order does not depend on the sort
  for (int state = 0; state < states; ++state) {
    int wanted[8];
    for (int j = 0, rest = state; j < dims; ++j, rest /= lists.levels) {
      wanted[j] = levels[rest % lists.levels];
    }
    for (int i = 0; i < count; ++i) {
      int distance = 0;
      for (int j = 0; j < dims; ++j) {
        const int difference = points[i * dims + j] - wanted[j];
        distance += difference * difference;
      }
      keys[i] = static_cast<uint32_t>(distance) << 12 | static_cast<uint32_t>(i);
    }
    const auto middle = keys.begin() + CodebookLists::kNear;
    std::nth_element(keys.begin(), middle - 1, keys.end());
    std::sort(keys.begin(), middle);
    for (int k = 0; k < CodebookLists::kNear; ++k) {
      lists.near[state * CodebookLists::kNear + k] = static_cast<uint16_t>(keys[k] & 0xFFF);
    }
  }
  return lists;
}

}  // namespace

const CodebookLists& ListsIQ2_XXS() {
  static const CodebookLists& lists =
      *new CodebookLists(Make(8, {8, 25, 43}, 256, [](int i) { return PointIQ2(CodeIQ2_XXS(i)); }));
  return lists;
}

const CodebookLists& ListsIQ2_XS() {
  static const CodebookLists& lists =
      *new CodebookLists(Make(8, {8, 25, 43}, 512, [](int i) { return PointIQ2(CodeIQ2_XS(i)); }));
  return lists;
}

const CodebookLists& ListsIQ2_S() {
  static const CodebookLists& lists =
      *new CodebookLists(Make(8, {8, 25, 43}, 1024, [](int i) { return PointIQ2(CodeIQ2_S(i)); }));
  return lists;
}

const CodebookLists& ListsIQ3_XXS() {
  static const CodebookLists& lists =
      *new CodebookLists(Make(4, {4, 12, 20, 28, 36, 44, 52, 62}, 256,
                              [](int i) { return PointIQ3_XXS(CodeIQ3_XXS(i), 0); }));
  return lists;
}

const CodebookLists& ListsIQ3_S() {
  static const CodebookLists& lists = *new CodebookLists(
      Make(4, {1, 3, 5, 7, 9, 11, 13, 15}, 512, [](int i) { return PointIQ3_S(CodeIQ3_S(i), 0); }));
  return lists;
}

const CodebookLists& ListsIQ1() {
  static const CodebookLists& lists = *new CodebookLists(Make(8, {-1, 0, 1}, 2048, [](int i) {
    // 0, 1, 2 in each byte, less one: the borrow is kept inside by the 0x80 that xor removes.
    return (SpreadPairs(CodeIQ1(i)) + AllBytes(0x7F)) ^ AllBytes(0x80);
  }));
  return lists;
}

}  // namespace bantam::quant
