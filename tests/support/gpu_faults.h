// What every GPU backend does when its driver fails: tests that inject failures.
#pragma once

#include <atomic>
#include <functional>
#include <string>

namespace bantam::testing {

// A backend that is linked into the test, and what makes its driver fail: the allocation, or the
// work started on the device, that counts down from there to 1.
struct FaultyGpu {
  std::string device;
  std::atomic<int>& allocation_in;  // finds no memory
  std::atomic<int>& start_in;       // and the device is lost
};

// Of loading a model and making a session, every allocation in turn fails with kResourceExhausted
// in one line.
void CheckThatAllocationFailuresAreStatuses(const FaultyGpu& gpu);

// A GPU that is lost is opened anew by the next load; what was made before says so and no more.
// `let_go` is called before that load.
void CheckThatALostGpuIsAStatus(
    const FaultyGpu& gpu, const std::function<void()>& let_go = [] {});

}  // namespace bantam::testing
