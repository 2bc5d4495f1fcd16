// Reading safetensors files, as Hugging Face publishes models in.
//
// Source: the format's specification (github.com/huggingface/safetensors, "Format"):
//
//   u64 n; n bytes of JSON, one object; the tensors' data, without gaps, to the end of the file
//   {"NAME": {"dtype": "BF16", "shape": [out, in], "data_offsets": [begin, end]}, ...,
//    "__metadata__": {...}}; offsets count from the end of the JSON
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "runtime/base/mapped_file.h"
#include "runtime/quant/type.h"

namespace bantam::convert {

struct SourceTensor {
  std::string name;
  std::string dtype;           // as written: "BF16"
  std::vector<int64_t> shape;  // outermost first
  std::span<const std::byte> data;

  // The element type, or nothing where GGUF has no such type or it is no type of weights.
  std::optional<quant::Type> type() const;
  int64_t elements() const;
};

// Points into the mapped file, which it owns. Immutable and thread-safe.
class Safetensors {
 public:
  // Checks every name, shape and offset. Errors name the file, the tensor and what is wrong.
  static absl::StatusOr<std::unique_ptr<Safetensors>> Open(const std::string& path);
  // The same for a file in memory that the caller keeps; `name` is used in messages.
  static absl::StatusOr<std::unique_ptr<Safetensors>> Parse(std::span<const std::byte> bytes,
                                                            const std::string& name);

  const std::vector<SourceTensor>& tensors() const { return tensors_; }  // in the order of the data

 private:
  std::unique_ptr<MappedFile> file_;
  std::vector<SourceTensor> tensors_;
};

// The tensors of a model folder: model.safetensors, or the files that
// model.safetensors.index.json lists, or else every *.safetensors there is.
class Checkpoint {
 public:
  static absl::StatusOr<std::unique_ptr<Checkpoint>> Open(const std::string& folder);
  const std::vector<const SourceTensor*>& tensors() const { return tensors_; }
  const SourceTensor* Find(absl::string_view name) const;

 private:
  std::vector<std::unique_ptr<Safetensors>> files_;
  std::vector<const SourceTensor*> tensors_;
  absl::flat_hash_map<absl::string_view, const SourceTensor*> by_name_;
};

}  // namespace bantam::convert
