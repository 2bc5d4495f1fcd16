#include "runtime/base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>

#include "absl/cleanup/cleanup.h"
#include "runtime/base/align.h"
#include "runtime/base/status.h"

namespace bantam {

absl::StatusOr<std::unique_ptr<MappedFile>> MappedFile::Open(const std::string& path) {
  // O_NONBLOCK changes nothing for files but keeps the open of a pipe from waiting for a writer.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open '", path, "'"));
  auto closer = absl::MakeCleanup([fd] { close(fd); });
  struct stat info;
  if (fstat(fd, &info) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot read '", path, "'"));
  }
  if (S_ISDIR(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat("'", path, "' is a folder, not a file"));
  }
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat("'", path, "' is not a regular file"));
  }
  if (info.st_size == 0) return absl::InvalidArgumentError(absl::StrCat("'", path, "' is empty"));
  const size_t size = static_cast<size_t>(info.st_size);
  void* address = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  if (address == MAP_FAILED) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot map '", path, "'"));
  }
  return std::unique_ptr<MappedFile>(
      new MappedFile(path, {static_cast<const std::byte*>(address), size}));
}

MappedFile::~MappedFile() { munmap(const_cast<std::byte*>(data_.data()), data_.size()); }

void MappedFile::Release(std::span<const std::byte> part) const {
  // A page that is read brings those around it, 64 KiB in all unless the system was set otherwise.
  constexpr uintptr_t kAround = uintptr_t{64} << 10;
  const auto file = reinterpret_cast<uintptr_t>(data_.data());  // begins a page
  const auto begin = reinterpret_cast<uintptr_t>(part.data()) / kAround * kAround;
  const auto end = AlignUp(reinterpret_cast<uintptr_t>(part.data() + part.size()), kAround);
  const auto first = std::max(begin, file);
  const auto last = std::min(end, file + data_.size());
  // Only advice: what fails costs nothing but memory that could have been had.
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

}  // namespace bantam
