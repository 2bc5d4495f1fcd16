// A graph compiled for the CPU: a flat list of steps over resolved pointers.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backends/cpu/plan/kernels.h"
#include "backends/cpu/plan/step.h"
#include "runtime/base/thread_pool.h"
#include "runtime/device/device.h"

namespace bantam::cpu {

// The threads of one device. A pool runs one loop at a time, so executables that several threads
// run take turns.
struct Workers {
  explicit Workers(int size) : pool(size) {}
  ThreadPool pool;
  std::mutex mutex;  // held during a Run
};

// OK when the CPU runs `node`, else kUnimplemented with the reason; the graph is inferred.
absl::Status CheckSupported(const graph::Graph& graph, const graph::Node& node);

// Whether `node` may take an interleaved weight (interleave.h) as its input of that index.
bool TakesInterleaved(const graph::Node& node, size_t input);

class Executable : public device::Executable {
 public:
  // Checks everything that Run relies on: the graph (by inferring a copy), that every value used
  // is bound, within its buffer, aligned for its type and writable where it is written.
  static absl::StatusOr<std::unique_ptr<Executable>> Compile(const device::CompileArgs& args,
                                                             const KernelSet& kernels,
                                                             std::shared_ptr<Workers> workers);
  static absl::StatusOr<device::Scratch> Predict(const device::CompileArgs& args,
                                                 const KernelSet& kernels,
                                                 std::shared_ptr<Workers> workers);
  ~Executable() override;

  absl::Status Run(device::Stream& stream) override;
  uint64_t scratch_bytes() const override { return scratch_bytes_; }
  std::string Describe() const override;
  absl::Status StartProfile() override;
  std::vector<device::KernelTime> Profile() const override;

 private:
  explicit Executable(std::shared_ptr<Workers> workers) : workers_(std::move(workers)) {}

  // Makes the steps and says what scratch they need.
  absl::Status Prepare(const graph::Graph& graph, const device::CompileArgs& args,
                       const KernelSet& kernels, bool is_bound);
  int64_t ScratchBytes() const;

  std::shared_ptr<Workers> workers_;
  std::vector<Step> steps_;
  // shared_scratch_ bytes, then worker_scratch_ bytes for each worker.
  std::byte* scratch_ = nullptr;
  std::unique_ptr<device::Buffer> own_scratch_;  // null where `scratch_` is somebody else's
  int64_t shared_scratch_ = 0;
  int64_t worker_scratch_ = 0;
  uint64_t scratch_bytes_ = 0;
  std::vector<double> seconds_;  // by step, once profiled
  int64_t profiled_runs_ = 0;
};

}  // namespace bantam::cpu
