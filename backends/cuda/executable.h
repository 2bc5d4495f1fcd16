// A graph compiled: the launches of its nodes captured as one CUDA graph, replayed at every Run.
// Launches in a row that do not meet are side by side in it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backends/cuda/buffer.h"
#include "backends/cuda/lowering.h"
#include "runtime/device/device.h"

namespace bantam::cuda {

// Streams of one GPU run side by side; events order them.
class CudaStream : public device::Stream {
 public:
  static absl::StatusOr<std::unique_ptr<CudaStream>> Make(std::shared_ptr<Gpu> gpu);
  ~CudaStream() override;
  absl::Status Synchronize() override;
  absl::StatusOr<std::unique_ptr<device::Event>> Record() override;
  absl::Status WaitFor(device::Event& event) override;

  const Gpu& gpu() const { return *gpu_; }
  cuda::Stream handle() const { return stream_; }

 private:
  CudaStream(std::shared_ptr<Gpu> gpu, cuda::Stream stream)
      : gpu_(std::move(gpu)), stream_(stream) {}
  std::shared_ptr<Gpu> gpu_;
  cuda::Stream stream_;
};

class Executable : public device::Executable {
 public:
  // Checks, as every backend does, the graph, and that each value used is bound to memory of this
  // GPU, within its buffer and aligned for its type.
  static absl::StatusOr<std::unique_ptr<Executable>> Compile(const device::CompileArgs& args,
                                                             std::shared_ptr<Gpu> gpu);
  static absl::StatusOr<device::Scratch> Predict(const device::CompileArgs& args, Gpu& gpu);
  ~Executable() override;

  absl::Status Run(device::Stream& stream) override;
  uint64_t scratch_bytes() const override;
  std::string Describe() const override;
  absl::Status StartProfile() override;
  std::vector<device::KernelTime> Profile() const override { return times_; }

 private:
  explicit Executable(std::shared_ptr<Gpu> gpu) : gpu_(std::move(gpu)) {}
  absl::Status Launch(const KernelLaunch& launch, cuda::Stream stream) const;
  absl::Status Capture();
  absl::Status CaptureLaunches();
  // One past the last launch that may run beside launch `first`, and those between.
  size_t EndOfGroup(size_t first) const;
  absl::Status RunMeasured(CudaStream& stream);

  std::shared_ptr<Gpu> gpu_;
  std::unique_ptr<Buffer> constants_, scratch_;
  std::unique_ptr<CudaStream> capture_;
  // What the others of a group are captured on, and the event that ends it; the first is of the
  // group's beginning.
  static constexpr size_t kSides = 3;
  std::unique_ptr<CudaStream> sides_[kSides];
  driver::Event forks_[kSides + 1] = {};
  std::vector<KernelLaunch> launches_;
  OwnMemory own_;
  std::string plain_products_;  // what computes those of many columns, where there are any
  driver::GraphExec graph_ = nullptr;
  driver::Event done_ = nullptr;  // the last Run
  bool ran_ = false;
  // Profiling: launches one by one, an event before each and after the last.
  std::vector<driver::Event> marks_;
  std::vector<device::KernelTime> times_;
};

}  // namespace bantam::cuda
