// A graph compiled for the reference backend: a flat list of steps over resolved pointers.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backends/cpu/reference/step.h"
#include "runtime/base/thread_pool.h"
#include "runtime/device/device.h"

namespace bantam::cpu::reference {

// The threads of one device. A pool runs one loop at a time, so executables that several threads
// run take turns.
struct Workers {
  explicit Workers(int size) : pool(size) {}
  ThreadPool pool;
  std::mutex mutex;  // held during a Run
};

// OK when this backend runs `node`, else kUnimplemented with the reason; the graph is inferred.
absl::Status CheckSupported(const graph::Graph& graph, const graph::Node& node);

class Executable : public device::Executable {
 public:
  // Checks everything that Run relies on: the graph (by inferring a copy), that every value used
  // is bound, within its buffer, aligned for its type and writable where it is written.
  static absl::StatusOr<std::unique_ptr<Executable>> Compile(const device::CompileArgs& args,
                                                             std::shared_ptr<Workers> workers);
  ~Executable() override;

  absl::Status Run(device::Stream& stream) override;
  uint64_t scratch_bytes() const override { return scratch_bytes_; }
  std::string Describe() const override;

 private:
  explicit Executable(std::shared_ptr<Workers> workers) : workers_(std::move(workers)) {}

  std::shared_ptr<Workers> workers_;
  std::vector<Step> steps_;
  std::unique_ptr<device::Buffer> scratch_;  // worker_scratch_ bytes for each worker
  int64_t worker_scratch_ = 0;
  uint64_t scratch_bytes_ = 0;
};

}  // namespace bantam::cpu::reference
