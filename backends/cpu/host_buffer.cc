#include "backends/cpu/host_buffer.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "backends/cpu/host_info.h"
#include "runtime/base/byte_size.h"

namespace bantam::cpu {
namespace {

absl::Status CheckRange(absl::string_view what, uint64_t offset, uint64_t count, uint64_t size) {
  if (offset <= size && count <= size - offset) return absl::OkStatus();
  return absl::OutOfRangeError(
      absl::StrCat(what, " of ", count, " bytes at ", offset, " of a buffer of ", size, " bytes"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<HostBuffer>> HostBuffer::Allocate(uint64_t bytes) {
  if (bytes == 0) return std::unique_ptr<HostBuffer>(new HostBuffer({}, true));
  // The system may promise more than there is and kill the process when it is touched.
  const device::MemoryInfo memory = HostMemory();
  if (memory.total != 0 && bytes > memory.total) {
    return absl::ResourceExhaustedError(absl::StrCat(FormatByteSize(bytes),
                                                     " of memory were asked for; this machine has ",
                                                     FormatByteSize(memory.total)));
  }
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    return absl::ResourceExhaustedError(absl::StrCat(
        FormatByteSize(bytes), " of memory cannot be had (", std::strerror(errno), "); ",
        FormatByteSize(memory.free), " of ", FormatByteSize(memory.total), " are free"));
  }
#if defined(MADV_HUGEPAGE)
  // A KV cache and weights are read from end to end for every token: a fifth faster in pages of
  // 2 MiB, where the system has them to give.
  constexpr uint64_t kHugePage = uint64_t{2} << 20;
  if (bytes >= kHugePage) madvise(data, bytes, MADV_HUGEPAGE);
#endif
  return std::unique_ptr<HostBuffer>(
      new HostBuffer({static_cast<std::byte*>(data), static_cast<size_t>(bytes)}, true));
}

std::unique_ptr<HostBuffer> HostBuffer::Wrap(std::span<const std::byte> data) {
  // Nothing writes through the pointer: Upload and the executables ask writable() first.
  return std::unique_ptr<HostBuffer>(
      new HostBuffer({const_cast<std::byte*>(data.data()), data.size()}, false));
}

HostBuffer::~HostBuffer() {
  if (owned_ && !data_.empty()) munmap(data_.data(), data_.size());
}

absl::Status HostBuffer::Upload(uint64_t offset, std::span<const std::byte> data) {
  if (absl::Status range = CheckRange("upload", offset, data.size(), size()); !range.ok()) {
    return range;
  }
  if (!owned_) return absl::FailedPreconditionError("upload to a read-only buffer");
  if (!data.empty()) std::memcpy(data_.data() + offset, data.data(), data.size());
  return absl::OkStatus();
}

absl::Status HostBuffer::Download(uint64_t offset, std::span<std::byte> data) {
  if (absl::Status range = CheckRange("download", offset, data.size(), size()); !range.ok()) {
    return range;
  }
  if (!data.empty()) std::memcpy(data.data(), data_.data() + offset, data.size());
  return absl::OkStatus();
}

}  // namespace bantam::cpu
