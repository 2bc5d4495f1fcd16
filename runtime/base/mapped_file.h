// A file mapped read-only into memory.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "absl/status/statusor.h"

namespace bantam {

// Owns the mapping; the pages are shared with the page cache and cost memory only when read.
// Thread-safe after construction.
//
// The file must not be shortened or overwritten in place by others while it is mapped: reading a
// page that is gone raises SIGBUS, as does a failing disk. Replacing it by rename (AtomicFile)
// or deleting it is safe, the mapping keeps the old contents.
class MappedFile {
 public:
  // kNotFound when there is no such file, kInvalidArgument for a folder, an empty file or anything
  // that is not a regular file (a pipe is refused, never waited on).
  static absl::StatusOr<std::unique_ptr<MappedFile>> Open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  std::span<const std::byte> data() const { return data_; }
  // Lets go of the memory of the pages that hold `part` of data() or came with them, until they are
  // read again.
  void Release(std::span<const std::byte> part) const;

 private:
  MappedFile(std::string path, std::span<const std::byte> data)
      : path_(std::move(path)), data_(data) {}

  std::string path_;
  std::span<const std::byte> data_;
};

}  // namespace bantam
