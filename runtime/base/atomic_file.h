// Writing a file so that its name never shows a partial one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/statusor.h"

namespace bantam {

// Writes to a file without a name in the folder of `path` and names it on Commit, so that a process
// that is killed leaves nothing. Where the file system knows no such files it is named
// "<path>.<pid>-<n>.partial" until then; those that killed processes left are removed when the same
// `path` is next written. Destroyed without Commit, it leaves whatever stood at `path` untouched.
// When `path` is a symbolic link to a file, that file is replaced and the link stays. Not
// thread-safe.
class AtomicFile {
 public:
  enum class Temporary { kNameless, kNamed };
  // kInvalidArgument when `path` is a folder, a device or anything else that is not a file.
  // kNamed does without nameless files as if the file system had none.
  static absl::StatusOr<std::unique_ptr<AtomicFile>> Create(
      const std::string& path, Temporary temporary = Temporary::kNameless);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  // After a failure every later call fails the same way, so that a file with a hole is never
  // committed. Large spans are written from where they lie, not copied.
  absl::Status Append(std::span<const std::byte> bytes);
  // Bytes appended so far.
  uint64_t size() const { return size_; }
  // Flushes to disk and gives the file its name. Nothing can be appended afterwards.
  absl::Status Commit();

 private:
  AtomicFile(std::string path, std::string temporary, int fd)
      : path_(std::move(path)), temporary_(std::move(temporary)), fd_(fd) {}
  absl::Status WriteAll(std::span<const std::byte> bytes);
  absl::Status FlushBuffer();
  absl::Status GiveTemporaryName();
  absl::Status Fail(const char* what);

  std::string path_;
  std::string temporary_;  // "" while it has no name
  std::string buffer_;
  int fd_;
  uint64_t size_ = 0;
  absl::Status status_;  // of the first failure
};

}  // namespace bantam
