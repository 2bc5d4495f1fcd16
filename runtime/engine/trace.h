// What ran when on which device, for people to look at.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace bantam::engine {

// Collects spans of time and writes them in Chrome's trace format (chrome://tracing, Perfetto): for
// each device one line for computing and one for transfers to it. Thread-safe.
class Trace {
 public:
  using Clock = std::chrono::steady_clock;

  struct Span {
    int device = 0;
    bool is_transfer = false;
    int64_t step = 0;    // steps that ran, counted from 0
    int segment = 0;     // of the step's program
    uint64_t bytes = 0;  // of a transfer
    Clock::time_point begin, end;
  };

  void Add(const Span& span);
  std::vector<Span> spans() const;
  // The number of the step that begins.
  int64_t NextStep();
  // Atomic. `devices`: their names.
  absl::Status Write(const std::string& path, const std::vector<std::string>& devices) const;

 private:
  mutable std::mutex mutex_;
  Clock::time_point start_ = Clock::now();
  std::vector<Span> spans_;
  int64_t steps_ = 0;
};

}  // namespace bantam::engine
