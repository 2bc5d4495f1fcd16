#include "runtime/base/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "runtime/base/status.h"

namespace bantam {
namespace {

constexpr size_t kBufferBytes = 1 << 20;

// Opens a file that did not exist before and stores its name. Plain open rather than mkstemp:
// it gives the permissions any new file would get, without touching the process's umask, which
// other threads share.
int OpenTemporary(const std::string& path, std::string& temporary) {
  static std::atomic<uint32_t> counter{0};
  for (int attempt = 0; attempt < 100; ++attempt) {
    temporary = absl::StrCat(path, ".", getpid(), "-", counter.fetch_add(1), ".partial");
    const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd >= 0 || errno != EEXIST) return fd;
  }
  return -1;
}

}  // namespace

absl::StatusOr<std::unique_ptr<AtomicFile>> AtomicFile::Create(const std::string& path) {
  std::string target = path;
  struct stat info;
  if (stat(path.c_str(), &info) == 0) {
    if (!S_ISREG(info.st_mode)) {
      return absl::InvalidArgumentError(
          absl::StrCat("cannot write '", path, "': it is ",
                       S_ISDIR(info.st_mode) ? "a folder" : "not a regular file"));
    }
    // The rename must replace the file, not a link to it.
    if (char* resolved = realpath(path.c_str(), nullptr); resolved != nullptr) {
      target = resolved;
      std::free(resolved);
    }
  }
  std::string temporary;
  const int fd = OpenTemporary(target, temporary);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot write '", path, "'"));
  return std::unique_ptr<AtomicFile>(new AtomicFile(std::move(target), std::move(temporary), fd));
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) {
    close(fd_);
    unlink(temporary_.c_str());
  }
}

absl::Status AtomicFile::Fail(const char* what) {
  status_ = absl::ErrnoToStatus(errno, absl::StrCat(what, " '", path_, "'"));
  return status_;
}

absl::Status AtomicFile::WriteAll(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Fail("cannot write");
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

absl::Status AtomicFile::FlushBuffer() {
  BANTAM_RETURN_IF_ERROR(WriteAll(std::as_bytes(std::span(buffer_))));
  buffer_.clear();
  return absl::OkStatus();
}

absl::Status AtomicFile::Append(std::span<const std::byte> bytes) {
  BANTAM_RETURN_IF_ERROR(status_);
  if (fd_ < 0) {
    return absl::FailedPreconditionError(absl::StrCat("'", path_, "' is already complete"));
  }
  if (buffer_.size() + bytes.size() > kBufferBytes) BANTAM_RETURN_IF_ERROR(FlushBuffer());
  if (bytes.size() > kBufferBytes) {
    BANTAM_RETURN_IF_ERROR(WriteAll(bytes));
  } else {
    buffer_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  size_ += bytes.size();
  return absl::OkStatus();
}

absl::Status AtomicFile::Commit() {
  BANTAM_RETURN_IF_ERROR(status_);
  if (fd_ < 0) {
    return absl::FailedPreconditionError(absl::StrCat("'", path_, "' is already complete"));
  }
  BANTAM_RETURN_IF_ERROR(FlushBuffer());
  if (fsync(fd_) != 0) return Fail("cannot write");
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) return Fail("cannot create");
  close(fd_);
  fd_ = -1;
  return absl::OkStatus();
}

}  // namespace bantam
