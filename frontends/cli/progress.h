// Telling how far a long task is, and how long it took.
#pragma once

#include <chrono>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "frontends/cli/output.h"

namespace bantam::cli {

class Stopwatch {
 public:
  double Seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point start_ = Clock::now();
};

// "3:07" or "1:02:45".
std::string Duration(double seconds);

// On a terminal one line that changes with every step; elsewhere about 20 lines in all.
class Progress {
 public:
  explicit Progress(int64_t of) : of_(of) {}
  // `done` steps of all are; `text` is the latest news. "[3/20] PPL 27.8, 0:12 left"
  void Show(int64_t done, absl::string_view text);
  double Seconds() const { return watch_.Seconds(); }

 private:
  int64_t of_;
  int64_t shown_ = 0;  // twentieths
  Stopwatch watch_;
  StatusLine status_;
};

// What a task that Ctrl-C ended returns, having written nothing.
absl::Status Interrupted();
// The exit code for how a command ended. After Interrupted() the program ends as Ctrl-C ends one.
int Finish(const absl::Status& status);

}  // namespace bantam::cli
