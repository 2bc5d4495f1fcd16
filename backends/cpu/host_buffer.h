// Buffers in host memory, for every CPU backend.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "runtime/device/device.h"

namespace bantam::cpu {

class HostBuffer : public device::Buffer {
 public:
  // Zero pages of its own; a page costs memory once it is written. kResourceExhausted when the
  // system refuses.
  static absl::StatusOr<std::unique_ptr<HostBuffer>> Allocate(uint64_t bytes);
  // Read-only, over memory that must outlive it.
  static std::unique_ptr<HostBuffer> Wrap(std::span<const std::byte> data);
  ~HostBuffer() override;

  uint64_t size() const override { return data_.size(); }
  std::span<std::byte> host() override { return data_; }
  absl::Status Upload(uint64_t offset, std::span<const std::byte> data) override;
  absl::Status Download(uint64_t offset, std::span<std::byte> data) override;

  bool writable() const { return owned_; }

 private:
  HostBuffer(std::span<std::byte> data, bool owned) : data_(data), owned_(owned) {}

  std::span<std::byte> data_;
  bool owned_;
};

}  // namespace bantam::cpu
