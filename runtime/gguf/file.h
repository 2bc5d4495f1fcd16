// Reading GGUF model files.
//
// Source: the GGUF specification (ggml/docs/gguf.md), versions 2 and 3, little-endian. format.md
// beside this file documents the layout down to the byte.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/base/mapped_file.h"
#include "runtime/base/status.h"
#include "runtime/quant/type.h"

namespace bantam::gguf {

// Metadata types by their ids in the file.
enum class MetaType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};
absl::string_view MetaTypeName(MetaType type);

struct MetaArray;
// Strings point into the mapped file (or, for a Writer, into memory the caller keeps).
using MetaValue =
    std::variant<uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, float, bool,
                 absl::string_view, std::shared_ptr<const MetaArray>, uint64_t, int64_t, double>;
static_assert(std::variant_size_v<MetaValue> == 13);  // alternative i has MetaType i
inline MetaType TypeOf(const MetaValue& value) { return static_cast<MetaType>(value.index()); }

// A homogeneous array. Fixed-size elements stay where they are in the file; strings and nested
// arrays are listed.
struct MetaArray {
  MetaType element = MetaType::kUint8;
  uint64_t count = 0;
  std::span<const std::byte> raw;          // fixed-size elements, unaligned, little-endian
  std::vector<absl::string_view> strings;  // element == kString
  std::vector<MetaValue> arrays;           // element == kArray

  // Element i of a fixed-size array as a MetaValue. i < count.
  MetaValue At(uint64_t i) const;
};

struct KeyValue {
  absl::string_view key;
  MetaValue value;
};

struct TensorInfo {
  absl::string_view name;
  quant::Type type = quant::Type::kF32;
  int n_dims = 1;                               // as stored, 0 (one value) to 4
  std::array<int64_t, 4> shape = {1, 1, 1, 1};  // innermost first, unused dimensions 1
  std::span<const std::byte> data;              // exactly the tensor's bytes, checked
  int part = 0;                                 // which file of a split model
  uint64_t offset = 0;                          // of data in that file

  int64_t elements() const { return shape[0] * shape[1] * shape[2] * shape[3]; }
};

// A model file, or all parts of a split one. Immutable and thread-safe once open.
class File {
 public:
  // Given any part of a split model (name-00002-of-00005.gguf), opens all parts. Errors name the
  // file, the key or tensor, what was found and what was expected.
  static absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path);
  // Parses one complete file in memory that the caller keeps; `name` is used in messages. Tensor
  // data is aligned in memory only as far as `bytes` is. A part of a split model is refused.
  static absl::StatusOr<std::unique_ptr<File>> Parse(std::span<const std::byte> bytes,
                                                     absl::string_view name);
  // A model that is only described, for planning: TensorInfo::data is empty. What metadata and
  // tensors point to must outlive it; keys and names must be unique.
  static std::unique_ptr<File> Describe(absl::string_view name, std::vector<KeyValue> metadata,
                                        std::vector<TensorInfo> tensors);

  const std::string& path() const { return path_; }
  uint32_t version() const { return version_; }
  uint64_t alignment() const { return alignment_; }
  uint64_t file_bytes() const { return file_bytes_; }  // all parts
  int part_count() const { return static_cast<int>(part_paths_.size()); }
  const std::vector<std::string>& part_paths() const { return part_paths_; }

  const std::vector<KeyValue>& metadata() const { return metadata_; }  // of the first part
  const std::vector<TensorInfo>& tensors() const { return tensors_; }

  // nullptr when absent. Keys and tensor names are unique, not empty, and valid UTF-8 without
  // control characters, so that they can be put into a message as they are; other strings may
  // hold any bytes.
  const MetaValue* Find(absl::string_view key) const;
  const TensorInfo* FindTensor(absl::string_view name) const;
  // Lets go of the memory a piece of a tensor's data takes, until it is read again; where the file
  // is mapped. The pages stay in the system's cache but no longer count as memory of this process.
  void Release(const TensorInfo& tensor, std::span<const std::byte> piece) const;

  // Typed look-ups. kNotFound when absent, kInvalidArgument when of another type or out of range.
  // GetUint takes any integer type that holds a non-negative value; GetFloat any number. A bool is
  // not an integer.
  absl::StatusOr<uint64_t> GetUint(absl::string_view key) const;
  absl::StatusOr<int64_t> GetInt(absl::string_view key) const;
  absl::StatusOr<double> GetFloat(absl::string_view key) const;
  absl::StatusOr<bool> GetBool(absl::string_view key) const;
  absl::StatusOr<absl::string_view> GetString(absl::string_view key) const;
  // Arrays, converted element by element under the same rules.
  absl::StatusOr<std::vector<int64_t>> GetInts(absl::string_view key) const;
  absl::StatusOr<std::vector<float>> GetFloats(absl::string_view key) const;
  absl::StatusOr<std::span<const absl::string_view>> GetStrings(absl::string_view key) const;

 private:
  File() = default;
  absl::Status Append(struct Part part);  // internal: adds a parsed part

  std::string path_;
  uint32_t version_ = 0;
  uint64_t alignment_ = 32;
  uint64_t file_bytes_ = 0;
  std::vector<std::string> part_paths_;
  std::vector<std::unique_ptr<MappedFile>> mappings_;
  std::vector<KeyValue> metadata_;
  std::vector<TensorInfo> tensors_;
  absl::flat_hash_map<absl::string_view, size_t> key_index_;
  absl::flat_hash_map<absl::string_view, size_t> tensor_index_;
};

// `result`, or `fallback` when the key is absent. Other errors pass through.
template <typename T>
absl::StatusOr<T> Or(absl::StatusOr<T> result, T fallback) {
  if (absl::IsNotFound(result.status())) return fallback;
  return result;
}

}  // namespace bantam::gguf
