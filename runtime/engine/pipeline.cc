#include "runtime/engine/pipeline.h"

#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"

namespace bantam::engine {
namespace {

class Runner {
 public:
  using Prepare = absl::FunctionRef<absl::Status(int64_t step, int lane)>;

  Runner(std::array<Program*, 2> lanes, int64_t count, Prepare prepare)
      : lanes_(lanes),
        count_(count),
        prepare_(prepare),
        is_busy_(lanes[0]->device_count(), false) {}

  void RunLane(int lane) {
    for (int64_t step = lane; step < count_; step += 2) {
      const absl::Status status = RunStep(step, lane);
      std::lock_guard lock(mutex_);
      if (status_.ok()) status_ = status;
      if (!status_.ok()) {
        changed_.notify_all();
        return;
      }
    }
  }

  absl::Status status() const { return status_; }

 private:
  absl::Status RunStep(int64_t step, int lane) {
    Program& program = *lanes_[lane];
    const int segments = program.segment_count();
    if (!Wait([&] { return prepared_ == step; })) return absl::OkStatus();
    BANTAM_RETURN_IF_ERROR(prepare_(step, lane));
    Change([&] { prepared_ = step + 1; });
    program.BeginStep();
    for (int s = 0; s < segments; ++s) {
      // What it moves here was made by this step: nobody else has to do with it.
      BANTAM_RETURN_IF_ERROR(program.MoveTo(s));
      const int device = program.DeviceOf(s);
      const auto is_free = [&] {
        return (step == 0 || done_[1 - lane] > (step - 1) * segments + s) && !is_busy_[device];
      };
      if (!Wait(is_free, [&] { is_busy_[device] = true; })) return absl::OkStatus();
      const absl::Status status = program.RunSegment(s);
      Change([&] {
        is_busy_[device] = false;
        done_[lane] = step * segments + s + 1;
      });
      BANTAM_RETURN_IF_ERROR(status);
    }
    return absl::OkStatus();
  }

  // False when a lane has failed; otherwise `then` was done as soon as `ready` held.
  template <typename Ready, typename Then>
  bool Wait(const Ready& ready, const Then& then) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !status_.ok() || ready(); });
    if (!status_.ok()) return false;
    then();
    return true;
  }
  template <typename Ready>
  bool Wait(const Ready& ready) {
    return Wait(ready, [] {});
  }
  template <typename Change_>
  void Change(const Change_& change) {
    std::lock_guard lock(mutex_);
    change();
    changed_.notify_all();
  }

  const std::array<Program*, 2> lanes_;
  const int64_t count_;
  const Prepare prepare_;
  std::mutex mutex_;
  std::condition_variable changed_;
  absl::Status status_;
  int64_t prepared_ = 0;  // steps whose inputs are written
  // By lane: segments done, those of the other lane's steps before counted as well.
  std::array<int64_t, 2> done_ = {0, 0};
  std::vector<bool> is_busy_;  // by device
};

}  // namespace

absl::Status RunInPipeline(std::array<Program*, 2> lanes, int64_t count,
                           absl::FunctionRef<absl::Status(int64_t step, int lane)> prepare) {
  Runner runner(lanes, count, prepare);
  std::thread other;
  try {
    other = std::thread([&] { runner.RunLane(1); });
  } catch (const std::system_error& error) {
    return absl::ResourceExhaustedError(absl::StrCat("no thread could be started: ", error.what()));
  }
  runner.RunLane(0);
  other.join();
  return runner.status();
}

}  // namespace bantam::engine
