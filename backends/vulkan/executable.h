// A graph compiled: a command buffer recorded once and submitted at every Run.
#pragma once

#include <memory>
#include <string>

#include "backends/vulkan/buffer.h"
#include "backends/vulkan/dispatch.h"
#include "runtime/device/device.h"

namespace bantam::vulkan {

class Stream : public device::Stream {
 public:
  static absl::StatusOr<std::unique_ptr<Stream>> Make(std::shared_ptr<Gpu> gpu) {
    return std::unique_ptr<Stream>(new Stream(std::move(gpu)));
  }
  absl::Status Synchronize() override { return gpu_->Wait(submitted_); }
  absl::StatusOr<std::unique_ptr<device::Event>> Record() override;
  absl::Status WaitFor(device::Event& event) override;
  absl::Status Submit(vk::CommandBuffer commands);

 private:
  explicit Stream(std::shared_ptr<Gpu> gpu) : gpu_(std::move(gpu)) {}
  std::shared_ptr<Gpu> gpu_;
  uint64_t submitted_ = 0;
};

class Executable : public device::Executable {
 public:
  // Checks, as every backend does, the graph, and that each value used is bound to memory of this
  // GPU, within its buffer and aligned for its type.
  static absl::StatusOr<std::unique_ptr<Executable>> Compile(const device::CompileArgs& args,
                                                             std::shared_ptr<Gpu> gpu);
  static absl::StatusOr<device::Scratch> Predict(const device::CompileArgs& args, const Gpu& gpu);
  ~Executable() override;

  absl::Status Run(device::Stream& stream) override;
  uint64_t scratch_bytes() const override;
  std::string Describe() const override { return description_; }

 private:
  explicit Executable(std::shared_ptr<Gpu> gpu) : gpu_(std::move(gpu)) {}
  absl::Status Record(const std::vector<Dispatch>& dispatches);
  absl::Status MakeSets(const std::vector<Dispatch>& dispatches,
                        const std::vector<Pipeline>& pipelines,
                        std::vector<vk::DescriptorSet>& sets);
  void Describe(const std::vector<Dispatch>& dispatches);

  std::shared_ptr<Gpu> gpu_;
  std::unique_ptr<Buffer> constants_, scratch_;
  Unique<vk::DescriptorPool> sets_;
  Unique<vk::CommandPool> pool_;
  vk::CommandBuffer commands_;
  uint64_t submitted_ = 0;  // the last Run
  uint32_t barriers_ = 0;
  std::string description_;
};

}  // namespace bantam::vulkan
