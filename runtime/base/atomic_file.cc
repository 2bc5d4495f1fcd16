#include "runtime/base/atomic_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "runtime/base/status.h"

namespace bantam {
namespace {

constexpr size_t kBufferBytes = 1 << 20;

std::string TemporaryName(const std::string& path) {
  static std::atomic<uint32_t> counter{0};
  return absl::StrCat(path, ".", getpid(), "-", counter.fetch_add(1), ".partial");
}

std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

std::string LinkTo(int fd) { return absl::StrCat("/proc/self/fd/", fd); }

// -1 where the file system has no such files, or they could not be named later. Anything else that
// is wrong shows again when a named file is tried.
int OpenNameless(const std::string& path) {
  const int fd = open(FolderOf(path).c_str(), O_WRONLY | O_TMPFILE | O_CLOEXEC, 0666);
  if (fd >= 0 && access(LinkTo(fd).c_str(), F_OK) != 0) {
    close(fd);
    return -1;
  }
  if (fd >= 0) flock(fd, LOCK_EX | LOCK_NB);  // for the moment in which it has a temporary name
  return fd;
}

// Opens a file that did not exist before and stores its name. Plain open rather than mkstemp:
// it gives the permissions any new file would get, without touching the process's umask, which
// other threads share. The lock, which ends with the process, says that the file is in use.
int OpenNamed(const std::string& path, std::string& temporary) {
  for (int attempt = 0; attempt < 100; ++attempt) {
    temporary = TemporaryName(path);
    const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0 && errno == EEXIST) continue;
    if (fd < 0) return fd;
    struct stat info;
    // Whoever removes what is left over may have been faster than the lock.
    const bool taken = flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    if (!taken && fstat(fd, &info) == 0 && info.st_nlink > 0) return fd;
    close(fd);
  }
  errno = EEXIST;
  return -1;
}

// Removes "<path>.<digits>-<digits>.partial" that no process holds the lock of.
void RemoveLeftovers(const std::string& path) {
  const std::string folder = FolderOf(path);
  const std::string prefix = path.substr(path.rfind('/') + 1) + ".";
  DIR* entries = opendir(folder.c_str());
  if (entries == nullptr) return;
  while (const dirent* entry = readdir(entries)) {
    absl::string_view rest = entry->d_name;
    if (!absl::ConsumePrefix(&rest, prefix) || !absl::ConsumeSuffix(&rest, ".partial")) continue;
    const size_t dash = rest.find('-');
    const bool ours = dash != rest.npos && dash > 0 && dash + 1 < rest.size() &&
                      std::all_of(rest.begin(), rest.begin() + dash, absl::ascii_isdigit) &&
                      std::all_of(rest.begin() + dash + 1, rest.end(), absl::ascii_isdigit);
    if (!ours) continue;
    const std::string name = absl::StrCat(folder, "/", entry->d_name);
    const int fd = open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) continue;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) unlink(name.c_str());
    close(fd);
  }
  closedir(entries);
}

}  // namespace

absl::StatusOr<std::unique_ptr<AtomicFile>> AtomicFile::Create(const std::string& path,
                                                               Temporary kind) {
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
  RemoveLeftovers(target);
  std::string temporary;
  int fd = kind == Temporary::kNameless ? OpenNameless(target) : -1;
  if (fd < 0) fd = OpenNamed(target, temporary);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot write '", path, "'"));
  return std::unique_ptr<AtomicFile>(new AtomicFile(std::move(target), std::move(temporary), fd));
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) {
    if (!temporary_.empty()) unlink(temporary_.c_str());
    close(fd_);
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

absl::Status AtomicFile::GiveTemporaryName() {
  const std::string link = LinkTo(fd_);
  for (int attempt = 0; attempt < 100; ++attempt) {
    std::string name = TemporaryName(path_);
    if (linkat(AT_FDCWD, link.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) == 0) {
      temporary_ = std::move(name);
      return absl::OkStatus();
    }
    if (errno != EEXIST) break;
  }
  return Fail("cannot create");
}

absl::Status AtomicFile::Commit() {
  BANTAM_RETURN_IF_ERROR(status_);
  if (fd_ < 0) {
    return absl::FailedPreconditionError(absl::StrCat("'", path_, "' is already complete"));
  }
  BANTAM_RETURN_IF_ERROR(FlushBuffer());
  if (fsync(fd_) != 0) return Fail("cannot write");
  // A link replaces nothing, a rename does.
  if (temporary_.empty()) BANTAM_RETURN_IF_ERROR(GiveTemporaryName());
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) return Fail("cannot create");
  close(fd_);
  fd_ = -1;
  return absl::OkStatus();
}

}  // namespace bantam
