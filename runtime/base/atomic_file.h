// Writing a file so that its name never shows a partial one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/statusor.h"

namespace bantam {

// Writes to a temporary file beside `path` and renames it on Commit. Destroyed without Commit, it
// removes the temporary and leaves whatever stood at `path` untouched. Not thread-safe.
class AtomicFile {
 public:
  static absl::StatusOr<std::unique_ptr<AtomicFile>> Create(const std::string& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  absl::Status Append(std::span<const std::byte> bytes);
  // Bytes appended so far.
  uint64_t size() const { return size_; }
  // Flushes to disk and gives the file its name.
  absl::Status Commit();

 private:
  AtomicFile(std::string path, std::string temporary, int fd)
      : path_(std::move(path)), temporary_(std::move(temporary)), fd_(fd) {}
  absl::Status FlushBuffer();

  std::string path_;
  std::string temporary_;
  std::string buffer_;
  int fd_;
  uint64_t size_ = 0;
};

}  // namespace bantam
