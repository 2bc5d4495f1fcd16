// Device memory as the runtime sees it.
#pragma once

#include <memory>

#include "backends/cuda/gpu.h"
#include "runtime/device/device.h"

namespace bantam::cuda {

class Buffer : public device::Buffer {
 public:
  // Zero-filled. A few bytes longer than asked for: kernels read whole 16-byte words.
  static absl::StatusOr<std::unique_ptr<Buffer>> Allocate(std::shared_ptr<Gpu> gpu, uint64_t bytes);
  ~Buffer() override { gpu_->Free(memory_); }

  uint64_t size() const override { return size_; }
  absl::Status Upload(uint64_t offset, std::span<const std::byte> data) override;
  absl::Status Download(uint64_t offset, std::span<std::byte> data) override;
  // From a buffer of any GPU.
  absl::Status CopyFrom(uint64_t offset, device::Buffer& from, uint64_t from_offset,
                        uint64_t bytes) override;

  const Gpu& gpu() const { return *gpu_; }
  std::byte* memory() const { return static_cast<std::byte*>(memory_); }

 private:
  explicit Buffer(std::shared_ptr<Gpu> gpu) : gpu_(std::move(gpu)) {}
  absl::Status CheckRange(absl::string_view what, uint64_t offset, uint64_t count) const;

  std::shared_ptr<Gpu> gpu_;
  void* memory_ = nullptr;
  uint64_t size_ = 0;
};

}  // namespace bantam::cuda
