// From the bytes of one file to a Part. Internal to gguf/.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/gguf/file.h"

namespace bantam::gguf {

// What one file holds. Everything points into the file's bytes.
struct Part {
  uint32_t version = 0;
  uint64_t alignment = 0;
  std::vector<KeyValue> metadata;
  std::vector<TensorInfo> tensors;
  absl::flat_hash_map<absl::string_view, size_t> key_index;

  const MetaValue* Find(absl::string_view key) const {
    const auto it = key_index.find(key);
    return it == key_index.end() ? nullptr : &metadata[it->second].value;
  }
};

// Checks every count, length, offset, alignment and size against `bytes` before using it. Memory
// allocated stays within 16 times the bytes read plus a constant, whatever the file claims.
// `part` becomes TensorInfo::part. The message names the key or tensor but not the file.
absl::StatusOr<Part> ParsePart(std::span<const std::byte> bytes, int part);

}  // namespace bantam::gguf
