// GGUF files written field by field, so that any field can be wrong.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>

#include "runtime/gguf/file.h"

namespace bantam::gguf {

class Bytes {
 public:
  template <typename T>
  Bytes& Put(T value) {
    out_.append(reinterpret_cast<const char*>(&value), sizeof(value));
    return *this;
  }
  Bytes& U32(uint32_t v) { return Put(v); }
  Bytes& U64(uint64_t v) { return Put(v); }
  Bytes& Raw(const std::string& bytes) {
    out_ += bytes;
    return *this;
  }
  Bytes& String(const std::string& text) { return U64(text.size()).Raw(text); }

  Bytes& Header(uint32_t version, uint64_t tensors, uint64_t keys) {
    return Raw("GGUF").U32(version).U64(tensors).U64(keys);
  }
  Bytes& Key(const std::string& key, MetaType type) {
    return String(key).U32(static_cast<uint32_t>(type));
  }
  Bytes& ArrayOf(MetaType element, uint64_t count) {
    return U32(static_cast<uint32_t>(element)).U64(count);
  }
  Bytes& Tensor(const std::string& name, std::initializer_list<int64_t> shape, uint32_t type,
                uint64_t offset) {
    String(name).U32(static_cast<uint32_t>(shape.size()));
    for (int64_t d : shape) Put(d);
    return U32(type).U64(offset);
  }
  // Zeros up to a multiple of `alignment`.
  Bytes& Pad(size_t alignment = 32) {
    out_.resize((out_.size() + alignment - 1) / alignment * alignment);
    return *this;
  }

  const std::string& str() const { return out_; }

 private:
  std::string out_;
};

// Parses `bytes`, which must outlive the file.
inline absl::StatusOr<std::unique_ptr<File>> ParseBytes(const std::string& bytes) {
  return File::Parse(std::as_bytes(std::span(bytes)), "m.gguf");
}

}  // namespace bantam::gguf
