// Failures that tests inject into the emulated driver.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace bantam::cuda::emulator {

struct Faults {
  // Counted down at every allocation and every graph launched; the one that finds 1 fails, 0 never
  // does.
  std::atomic<int> allocation_in{0};  // out of device memory
  std::atomic<int> launch_in{0};      // the device is lost, until `lost` is set to false
  std::atomic<bool> lost{false};
  // Where the system might have cuBLAS.
  std::vector<std::string> cublas_names = {"libcublas-of-the-emulator.so"};
  // Not failures, but what tests want to know: bytes copied from registered memory, and between
  // GPUs; the most launches side by side in the graph captured last.
  std::atomic<uint64_t> registered_bytes{0}, peer_bytes{0};
  std::atomic<size_t> side_by_side{0};
};
Faults& TheFaults();

// Bytes of device and pinned host memory in use, for tests of leaks.
uint64_t AllocatedBytes();

}  // namespace bantam::cuda::emulator
