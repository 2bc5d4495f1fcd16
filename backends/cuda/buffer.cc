#include "backends/cuda/buffer.h"

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"

namespace bantam::cuda {

absl::StatusOr<std::unique_ptr<Buffer>> Buffer::Allocate(std::shared_ptr<Gpu> gpu, uint64_t bytes) {
  constexpr uint64_t kWord = 16;
  if (bytes > UINT64_MAX - 2 * kWord) {
    return absl::ResourceExhaustedError(absl::StrCat("no device memory for ", bytes, " bytes"));
  }
  std::unique_ptr<Buffer> buffer(new Buffer(std::move(gpu)));
  BANTAM_ASSIGN_OR_RETURN(buffer->memory_, buffer->gpu_->Allocate((bytes / kWord + 1) * kWord));
  buffer->size_ = bytes;
  return buffer;
}

absl::Status Buffer::CheckRange(absl::string_view what, uint64_t offset, uint64_t count) const {
  if (offset <= size_ && count <= size_ - offset) return absl::OkStatus();
  return absl::OutOfRangeError(
      absl::StrCat(what, " of ", count, " bytes at ", offset, " of a buffer of ", size_, " bytes"));
}

absl::Status Buffer::Upload(uint64_t offset, std::span<const std::byte> data) {
  BANTAM_RETURN_IF_ERROR(CheckRange("upload", offset, data.size()));
  return data.empty() ? absl::OkStatus() : gpu_->CopyIn(memory() + offset, data);
}

absl::Status Buffer::Download(uint64_t offset, std::span<std::byte> data) {
  BANTAM_RETURN_IF_ERROR(CheckRange("download", offset, data.size()));
  return data.empty() ? absl::OkStatus() : gpu_->CopyOut(memory() + offset, data);
}

absl::Status Buffer::CopyFrom(uint64_t offset, device::Buffer& from, uint64_t from_offset,
                              uint64_t bytes) {
  const auto* other = dynamic_cast<const Buffer*>(&from);
  if (other == nullptr) return absl::UnimplementedError("a buffer that is not of a CUDA device");
  BANTAM_RETURN_IF_ERROR(CheckRange("copy", offset, bytes));
  BANTAM_RETURN_IF_ERROR(other->CheckRange("copy", from_offset, bytes));
  if (bytes == 0) return absl::OkStatus();
  return gpu_->CopyFrom(memory() + offset, other->gpu(), other->memory() + from_offset, bytes);
}

}  // namespace bantam::cuda
