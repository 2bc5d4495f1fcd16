// When a dispatch must wait for those before it.
#pragma once

#include <vector>

#include "backends/vulkan/dispatch.h"

namespace bantam::vulkan {

// The ranges read and written since the last barrier.
class Hazards {
 public:
  // Notes what `dispatch` touches. True when a barrier must come before it, because it reads or
  // writes what an earlier one writes, or writes what an earlier one reads.
  bool Add(const Dispatch& dispatch) {
    const bool conflict = Conflicts(dispatch);
    if (conflict) {
      reads_.clear();
      writes_.clear();
    }
    for (int i = 0; i < dispatch.key.bindings; ++i) {
      const Bound& bound = dispatch.bindings[i];
      (bound.written ? writes_ : reads_).push_back(bound);
    }
    if (dispatch.key.by_address) reads_.push_back(dispatch.reached);
    return conflict;
  }

 private:
  static bool Meets(const std::vector<Bound>& ranges, const Bound& bound) {
    for (const Bound& range : ranges) {
      if (Overlap(range, bound)) return true;
    }
    return false;
  }
  bool Conflicts(const Dispatch& dispatch) const {
    for (int i = 0; i < dispatch.key.bindings; ++i) {
      const Bound& bound = dispatch.bindings[i];
      if (Meets(writes_, bound) || (bound.written && Meets(reads_, bound))) return true;
    }
    return dispatch.key.by_address && Meets(writes_, dispatch.reached);
  }

  std::vector<Bound> reads_, writes_;
};

}  // namespace bantam::vulkan
