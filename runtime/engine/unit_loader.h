// Copying weights to a device while others are computed with (schedule/stream.h).
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>

#include "absl/status/status.h"

namespace bantam::engine {

// Calls `load` for units 0, 1, ... count - 1 on a thread of its own, and for none before the unit
// two places ahead of it, whose buffer it takes, was let go. The user of the units is one thread.
class UnitLoader {
 public:
  // Starts. `load` must outlive this.
  UnitLoader(int64_t count, const std::function<absl::Status(int64_t unit)>& load);
  // Lets the load that is under way end, and starts no other.
  ~UnitLoader();

  // Returns when `unit` is there, or why it will not be.
  absl::Status WaitFor(int64_t unit);
  // Nothing reads `unit` any more. In order.
  void LetGo(int64_t unit);

 private:
  void Run();

  const int64_t count_;
  const std::function<absl::Status(int64_t unit)>& load_;
  std::mutex mutex_;
  std::condition_variable changed_;
  absl::Status status_;
  int64_t loaded_ = 0, let_go_ = 0;  // units
  bool stops_ = false;
  std::thread thread_;
};

}  // namespace bantam::engine
