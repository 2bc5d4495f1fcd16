// A file mapped read-only into memory.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "absl/status/statusor.h"

namespace bantam {

// Owns the mapping; the pages are shared with the page cache and cost memory only when read.
// Thread-safe after construction. The file must not be truncated by others while it is mapped.
class MappedFile {
 public:
  // kNotFound when there is no such file, kInvalidArgument for a folder or an empty file.
  static absl::StatusOr<std::unique_ptr<MappedFile>> Open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  std::span<const std::byte> data() const { return data_; }

 private:
  MappedFile(std::string path, std::span<const std::byte> data)
      : path_(std::move(path)), data_(data) {}

  std::string path_;
  std::span<const std::byte> data_;
};

}  // namespace bantam
