// Device memory as the runtime sees it.
#pragma once

#include <memory>
#include <vector>

#include "backends/vulkan/gpu.h"
#include "runtime/device/device.h"

namespace bantam::vulkan {

// One allocation; or, for weights larger than the GPU allocates at a time, several pieces. Each but
// the last goes on into what the next begins with, so that whatever is no longer than that lies in
// one piece: rows of a weight, wherever they are. Programs must not write to it then.
class Buffer : public device::Buffer {
 public:
  // Zero-filled.
  static absl::StatusOr<std::unique_ptr<Buffer>> Allocate(std::shared_ptr<Gpu> gpu, uint64_t bytes,
                                                          bool in_pieces = false);
  ~Buffer() override;

  uint64_t size() const override { return size_; }
  std::span<std::byte> host() override;
  absl::Status Upload(uint64_t offset, std::span<const std::byte> data) override;
  absl::Status Download(uint64_t offset, std::span<std::byte> data) override;

  const Gpu& gpu() const { return *gpu_; }
  bool in_pieces() const { return pieces_.size() > 1; }
  vk::Buffer handle() const { return *pieces_[0].buffer; }
  uint64_t address() const { return pieces_[0].address; }
  // Bytes on the GPU, at least size().
  uint64_t capacity() const;

  // The piece that holds what begins at `offset`: [begin, end) of the whole.
  struct Piece {
    vk::Buffer buffer;
    uint64_t address;
    uint64_t begin, end;
  };
  Piece PieceAt(uint64_t offset) const;

 private:
  explicit Buffer(std::shared_ptr<Gpu> gpu) : gpu_(std::move(gpu)) {}
  absl::Status CheckRange(absl::string_view what, uint64_t offset, uint64_t count) const;
  absl::Status AddPiece(uint64_t bytes, Gpu::Where where);

  std::shared_ptr<Gpu> gpu_;
  std::vector<Memory> pieces_;
  uint64_t step_ = UINT64_MAX;  // from the beginning of a piece to that of the next
  uint64_t size_ = 0;
};

}  // namespace bantam::vulkan
