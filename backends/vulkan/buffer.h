// Device memory as the runtime sees it.
#pragma once

#include <memory>

#include "backends/vulkan/gpu.h"
#include "runtime/device/device.h"

namespace bantam::vulkan {

class Buffer : public device::Buffer {
 public:
  // Zero-filled.
  static absl::StatusOr<std::unique_ptr<Buffer>> Allocate(std::shared_ptr<Gpu> gpu, uint64_t bytes);
  ~Buffer() override;

  uint64_t size() const override { return size_; }
  std::span<std::byte> host() override;
  absl::Status Upload(uint64_t offset, std::span<const std::byte> data) override;
  absl::Status Download(uint64_t offset, std::span<std::byte> data) override;

  const Gpu& gpu() const { return *gpu_; }
  VkBuffer handle() const { return memory_.buffer.get(); }
  // Bytes behind the handle, at least size() and a multiple of 16.
  uint64_t capacity() const { return memory_.bytes; }

 private:
  explicit Buffer(std::shared_ptr<Gpu> gpu) : gpu_(std::move(gpu)) {}
  absl::Status CheckRange(absl::string_view what, uint64_t offset, uint64_t count) const;

  std::shared_ptr<Gpu> gpu_;
  Memory memory_;
  uint64_t size_ = 0;
};

}  // namespace bantam::vulkan
