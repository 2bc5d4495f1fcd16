#include "backends/vulkan/buffer.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"

namespace bantam::vulkan {
namespace {

// Up to this size a buffer lives where the host can write to the GPU's memory, which may be a
// window of 256 MiB for everybody: a step's inputs, not weights.
constexpr uint64_t kSmall = 4 << 20;

}  // namespace

absl::StatusOr<std::unique_ptr<Buffer>> Buffer::Allocate(std::shared_ptr<Gpu> gpu, uint64_t bytes) {
  std::unique_ptr<Buffer> buffer(new Buffer(std::move(gpu)));
  Gpu& g = *buffer->gpu_;
  const Gpu::Where where = bytes <= kSmall ? Gpu::Where::kDeviceWritten : Gpu::Where::kDevice;
  BANTAM_ASSIGN_OR_RETURN(buffer->memory_, g.Allocate(bytes, where));
  buffer->size_ = bytes;
  Memory& memory = buffer->memory_;
  if (memory.mapped != nullptr) {
    std::memset(memory.mapped, 0, memory.bytes);
    return buffer;
  }
  BANTAM_RETURN_IF_ERROR(g.RunNow([&](VkCommandBuffer commands) {
    g.vk().CmdFillBuffer(commands, memory.buffer.get(), 0, VK_WHOLE_SIZE, 0);
  }));
  return buffer;
}

Buffer::~Buffer() { gpu_->Free(memory_); }

std::span<std::byte> Buffer::host() {
  if (memory_.mapped == nullptr || !gpu_->traits().host_reads) return {};
  return {memory_.mapped, static_cast<size_t>(size_)};
}

absl::Status Buffer::CheckRange(absl::string_view what, uint64_t offset, uint64_t count) const {
  if (offset <= size_ && count <= size_ - offset) return absl::OkStatus();
  return absl::OutOfRangeError(
      absl::StrCat(what, " of ", count, " bytes at ", offset, " of a buffer of ", size_, " bytes"));
}

absl::Status Buffer::Upload(uint64_t offset, std::span<const std::byte> data) {
  BANTAM_RETURN_IF_ERROR(CheckRange("upload", offset, data.size()));
  if (data.empty()) return absl::OkStatus();
  if (memory_.mapped == nullptr) return gpu_->CopyIn(handle(), offset, data);
  if (gpu_->lost()) return ToStatus(VK_ERROR_DEVICE_LOST, "upload");
  std::memcpy(memory_.mapped + offset, data.data(), data.size());
  return absl::OkStatus();
}

absl::Status Buffer::Download(uint64_t offset, std::span<std::byte> data) {
  BANTAM_RETURN_IF_ERROR(CheckRange("download", offset, data.size()));
  if (data.empty()) return absl::OkStatus();
  if (memory_.mapped == nullptr || !gpu_->traits().host_reads) {
    return gpu_->CopyOut(handle(), offset, data);
  }
  if (gpu_->lost()) return ToStatus(VK_ERROR_DEVICE_LOST, "download");
  std::memcpy(data.data(), memory_.mapped + offset, data.size());
  return absl::OkStatus();
}

}  // namespace bantam::vulkan
