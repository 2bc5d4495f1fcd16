#include "runtime/gguf/file.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "runtime/base/printable.h"
#include "runtime/gguf/layout.h"
#include "runtime/gguf/parser.h"
#include "runtime/gguf/split.h"

namespace bantam::gguf {

absl::Status File::Append(Part part) {
  for (const TensorInfo& tensor : part.tensors) {
    if (!tensor_index_.try_emplace(tensor.name, tensors_.size()).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor '", tensor.name, "' is also in '",
                       part_paths_[tensors_[tensor_index_[tensor.name]].part], "'"));
    }
    tensors_.push_back(tensor);
  }
  if (version_ != 0) return absl::OkStatus();
  version_ = part.version;
  alignment_ = part.alignment;
  metadata_ = std::move(part.metadata);
  key_index_ = std::move(part.key_index);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<File>> File::Parse(std::span<const std::byte> bytes,
                                                  absl::string_view name) {
  auto part = ParsePart(bytes, 0);
  if (!part.ok()) return Annotate(part.status(), name);
  auto keys = ReadSplitKeys(*part);
  if (!keys.ok()) return Annotate(keys.status(), name);
  if (keys->count > 1) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: is part %d of %d of a split model and not complete by itself", name,
                        keys->number + 1, keys->count));
  }
  std::unique_ptr<File> file(new File);
  file->path_ = std::string(name);
  file->part_paths_ = {file->path_};
  file->file_bytes_ = bytes.size();
  BANTAM_RETURN_IF_ERROR(Annotate(file->Append(*std::move(part)), name));
  return file;
}

std::unique_ptr<File> File::Describe(absl::string_view name, std::vector<KeyValue> metadata,
                                     std::vector<TensorInfo> tensors) {
  std::unique_ptr<File> file(new File);
  file->path_ = std::string(name);
  file->part_paths_ = {file->path_};
  file->version_ = kVersion;
  file->metadata_ = std::move(metadata);
  file->tensors_ = std::move(tensors);
  for (size_t i = 0; i < file->metadata_.size(); ++i) {
    file->key_index_.try_emplace(file->metadata_[i].key, i);
  }
  for (size_t i = 0; i < file->tensors_.size(); ++i) {
    TensorInfo& tensor = file->tensors_[i];
    tensor.data = {};
    file->tensor_index_.try_emplace(tensor.name, i);
  }
  return file;
}

absl::StatusOr<std::unique_ptr<File>> File::Open(const std::string& path) {
  // Of a split model only the keys of the part that was named are needed at first.
  BANTAM_ASSIGN_OR_RETURN(std::unique_ptr<MappedFile> mapping, MappedFile::Open(path));
  auto named = ParsePart(mapping->data(), 0);
  if (!named.ok()) return Annotate(named.status(), path);
  auto keys = ReadSplitKeys(*named);
  if (!keys.ok()) return Annotate(keys.status(), path);

  std::unique_ptr<File> file(new File);
  file->path_ = path;
  if (keys->count == 1) {
    file->part_paths_ = {path};
    file->file_bytes_ = mapping->data().size();
    file->mappings_.push_back(std::move(mapping));
    BANTAM_RETURN_IF_ERROR(Annotate(file->Append(*std::move(named)), path));
    return file;
  }
  BANTAM_ASSIGN_OR_RETURN(file->part_paths_, FindParts(path, *keys));
  for (int i = 0; i < keys->count; ++i) {
    const std::string& part_path = file->part_paths_[i];
    BANTAM_ASSIGN_OR_RETURN(std::unique_ptr<MappedFile> part_mapping, MappedFile::Open(part_path));
    auto part = ParsePart(part_mapping->data(), i);
    if (!part.ok()) return Annotate(part.status(), part_path);
    auto part_keys = ReadSplitKeys(*part);
    if (!part_keys.ok()) return Annotate(part_keys.status(), part_path);
    if (part_keys->count != keys->count || part_keys->number != i) {
      return absl::InvalidArgumentError(
          absl::StrFormat("%s: says it is part %d of %d of a split model; expected part %d of %d",
                          part_path, part_keys->number + 1, part_keys->count, i + 1, keys->count));
    }
    if (part_keys->tensors != keys->tensors) {
      return absl::InvalidArgumentError(absl::StrFormat(
          "%s: its split.tensors.count differs from that of '%s'; the parts are not of one model",
          part_path, path));
    }
    file->file_bytes_ += part_mapping->data().size();
    file->mappings_.push_back(std::move(part_mapping));
    BANTAM_RETURN_IF_ERROR(Annotate(file->Append(*std::move(part)), part_path));
  }
  if (keys->tensors.has_value() && *keys->tensors != static_cast<int64_t>(file->tensors_.size())) {
    return absl::InvalidArgumentError(
        absl::StrFormat("%s: the %d parts hold %d tensors, but split.tensors.count is %d", path,
                        keys->count, file->tensors_.size(), *keys->tensors));
  }
  return file;
}

const MetaValue* File::Find(absl::string_view key) const {
  const auto it = key_index_.find(key);
  return it == key_index_.end() ? nullptr : &metadata_[it->second].value;
}

const TensorInfo* File::FindTensor(absl::string_view name) const {
  const auto it = tensor_index_.find(name);
  return it == tensor_index_.end() ? nullptr : &tensors_[it->second];
}

void File::Release(const TensorInfo& tensor, std::span<const std::byte> piece) const {
  const auto part = static_cast<size_t>(tensor.part);
  if (part < mappings_.size()) mappings_[part]->Release(piece);
}

}  // namespace bantam::gguf
