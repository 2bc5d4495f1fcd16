// What must not happen while a model runs, counted for the whole process, so that a measurement can
// show that it did not.
#pragma once

#include <atomic>
#include <cstdint>

namespace bantam {

struct Counters {
  std::atomic<int64_t> graphs{0};      // graphs inferred: built, changed by a pass or compiled
  std::atomic<int64_t> lock_waits{0};  // times one thread found a device busy with another's step
  std::atomic<int64_t> sleeps{0};      // times a thread of a pool had nothing to do for so long
                                       // that it slept
};
extern Counters counters;

}  // namespace bantam
