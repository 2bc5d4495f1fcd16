#include "backends/vulkan/buffer.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"

namespace bantam::vulkan {
namespace {

// Up to this size a buffer lives where the host can write to the GPU's memory, which may be a
// window of 256 MiB for everybody: a step's inputs, not weights.
constexpr uint64_t kSmall = 4 << 20;

// What a piece has in common with the next, at most: longer than any row.
constexpr uint64_t kShared = 4 << 20;

}  // namespace

absl::StatusOr<std::unique_ptr<Buffer>> Buffer::Allocate(std::shared_ptr<Gpu> gpu, uint64_t bytes,
                                                         bool in_pieces) {
  std::unique_ptr<Buffer> buffer(new Buffer(std::move(gpu)));
  buffer->size_ = bytes;
  const Traits& traits = buffer->gpu_->traits();
  const uint64_t limit = traits.allocation_limit - 16;
  if (!in_pieces || bytes <= limit || limit < 2 * traits.offset_alignment) {
    BANTAM_RETURN_IF_ERROR(buffer->AddPiece(
        bytes, bytes <= kSmall ? Gpu::Where::kDeviceWritten : Gpu::Where::kDevice));
    return buffer;
  }
  const auto whole = [&](uint64_t n) {
    return n / traits.offset_alignment * traits.offset_alignment;
  };
  const uint64_t shared = whole(std::min(limit / 4, kShared));
  buffer->step_ = whole(limit - shared);
  for (uint64_t begin = 0; begin < bytes; begin += buffer->step_) {
    BANTAM_RETURN_IF_ERROR(
        buffer->AddPiece(std::min(buffer->step_ + shared, bytes - begin), Gpu::Where::kDevice));
  }
  return buffer;
}

absl::Status Buffer::AddPiece(uint64_t bytes, Gpu::Where where) {
  BANTAM_ASSIGN_OR_RETURN(Memory memory, gpu_->Allocate(bytes, where));
  pieces_.push_back(std::move(memory));
  const Memory& piece = pieces_.back();
  if (piece.mapped != nullptr) {
    std::memset(piece.mapped, 0, piece.bytes);
    return absl::OkStatus();
  }
  return gpu_->RunNow([&](vk::CommandBuffer commands) {
    commands.fillBuffer(*piece.buffer, 0, VK_WHOLE_SIZE, 0, gpu_->vk());
  });
}

Buffer::~Buffer() {
  for (Memory& piece : pieces_) gpu_->Free(piece);
}

uint64_t Buffer::capacity() const {
  uint64_t bytes = 0;
  for (const Memory& piece : pieces_) bytes += piece.bytes;
  return bytes;
}

Buffer::Piece Buffer::PieceAt(uint64_t offset) const {
  if (!in_pieces()) return {handle(), address(), 0, pieces_[0].bytes};
  const size_t i = std::min<size_t>(offset / step_, pieces_.size() - 1);
  const Memory& piece = pieces_[i];
  return {*piece.buffer, piece.address, i * step_, i * step_ + piece.bytes};
}

std::span<std::byte> Buffer::host() {
  if (in_pieces() || pieces_[0].mapped == nullptr || !gpu_->traits().host_reads) return {};
  return {pieces_[0].mapped, static_cast<size_t>(size_)};
}

absl::Status Buffer::CheckRange(absl::string_view what, uint64_t offset, uint64_t count) const {
  if (offset <= size_ && count <= size_ - offset) return absl::OkStatus();
  return absl::OutOfRangeError(
      absl::StrCat(what, " of ", count, " bytes at ", offset, " of a buffer of ", size_, " bytes"));
}

absl::Status Buffer::Upload(uint64_t offset, std::span<const std::byte> data) {
  BANTAM_RETURN_IF_ERROR(CheckRange("upload", offset, data.size()));
  if (data.empty()) return absl::OkStatus();
  const uint64_t end = offset + data.size();
  for (size_t i = 0; i < pieces_.size(); ++i) {
    const Memory& piece = pieces_[i];
    const uint64_t begin = i == 0 ? 0 : i * step_;
    const uint64_t from = std::max(offset, begin), to = std::min(end, begin + piece.bytes);
    if (from >= to) continue;
    const auto part = data.subspan(from - offset, to - from);
    if (piece.mapped == nullptr) {
      BANTAM_RETURN_IF_ERROR(gpu_->CopyIn(*piece.buffer, from - begin, part));
      continue;
    }
    if (gpu_->lost()) return ToStatus(vk::Result::eErrorDeviceLost, "upload");
    std::memcpy(piece.mapped + (from - begin), part.data(), part.size());
  }
  return absl::OkStatus();
}

absl::Status Buffer::Download(uint64_t offset, std::span<std::byte> data) {
  BANTAM_RETURN_IF_ERROR(CheckRange("download", offset, data.size()));
  while (!data.empty()) {
    const size_t i = in_pieces() ? std::min<size_t>(offset / step_, pieces_.size() - 1) : 0;
    const Memory& piece = pieces_[i];
    const uint64_t at = offset - (i == 0 ? 0 : i * step_);
    const auto part = data.first(std::min<uint64_t>(data.size(), piece.bytes - at));
    if (piece.mapped == nullptr || !gpu_->traits().host_reads) {
      BANTAM_RETURN_IF_ERROR(gpu_->CopyOut(*piece.buffer, at, part));
    } else {
      if (gpu_->lost()) return ToStatus(vk::Result::eErrorDeviceLost, "download");
      std::memcpy(part.data(), piece.mapped + at, part.size());
    }
    data = data.subspan(part.size());
    offset += part.size();
  }
  return absl::OkStatus();
}

}  // namespace bantam::vulkan
