// Buffers in host memory, for every CPU backend.
#pragma once

#include <memory>
#include <set>

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
  // Weights in it that are interleaved (plan/interleave.h), by where they begin.
  void SetInterleaved(uint64_t offset) { interleaved_.insert(offset); }
  bool IsInterleaved(uint64_t offset) const { return interleaved_.contains(offset); }

 private:
  HostBuffer(std::span<std::byte> data, bool owned) : data_(data), owned_(owned) {}

  std::span<std::byte> data_;
  bool owned_;
  std::set<uint64_t> interleaved_;
};

}  // namespace bantam::cpu
