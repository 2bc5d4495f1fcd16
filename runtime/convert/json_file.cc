#include "runtime/convert/json_file.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runtime/base/mapped_file.h"
#include "runtime/base/status.h"

namespace bantam::convert {

using nlohmann::json;

absl::StatusOr<JsonFile> JsonFile::Parse(absl::string_view text, std::string name) {
  JsonFile file;
  file.name_ = std::move(name);
  file.root_ = json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!file.root_.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(file.name_, ": is not one JSON object"));
  }
  return file;
}

absl::StatusOr<JsonFile> JsonFile::Open(const std::string& path) {
  BANTAM_ASSIGN_OR_RETURN(const auto mapped, MappedFile::Open(path));
  return Parse({reinterpret_cast<const char*>(mapped->data().data()), mapped->data().size()}, path);
}

void JsonFile::Alias(absl::string_view there, absl::string_view usual) {
  const json* value = Find(there);
  if (value == nullptr || Find(usual) != nullptr) return;
  json copy = *value;
  root_[std::string(usual)] = std::move(copy);
}

const json* JsonFile::Find(absl::string_view path) const {
  const json* at = &root_;
  for (absl::string_view key : absl::StrSplit(path, '.')) {
    if (!at->is_object()) return nullptr;
    const auto found = at->find(std::string(key));
    if (found == at->end()) return nullptr;
    at = &*found;
  }
  return at->is_null() ? nullptr : at;
}

absl::Status JsonFile::Error(absl::string_view path, absl::string_view message) const {
  return absl::InvalidArgumentError(absl::StrCat(name_, ": ", path, " ", message));
}

absl::StatusOr<std::optional<int64_t>> JsonFile::Int(absl::string_view path) const {
  const json* value = Find(path);
  if (value == nullptr) return std::optional<int64_t>();
  // Some tools write whole numbers as 4096.0; none means more than 2^53 by one.
  if (value->is_number_float()) {
    const double number = value->get<double>();
    if (number >= -9e15 && number <= 9e15 &&
        number == static_cast<double>(static_cast<int64_t>(number))) {
      return std::optional<int64_t>(static_cast<int64_t>(number));
    }
  }
  if (!value->is_number_integer()) return Error(path, "is not a whole number");
  if (value->is_number_unsigned() && value->get<uint64_t>() > INT64_MAX) {
    return Error(path, "is too large");
  }
  return std::optional<int64_t>(value->get<int64_t>());
}

absl::StatusOr<std::optional<double>> JsonFile::Number(absl::string_view path) const {
  const json* value = Find(path);
  if (value == nullptr) return std::optional<double>();
  if (!value->is_number()) return Error(path, "is not a number");
  return std::optional<double>(value->get<double>());
}

absl::StatusOr<std::optional<bool>> JsonFile::Bool(absl::string_view path) const {
  const json* value = Find(path);
  if (value == nullptr) return std::optional<bool>();
  if (!value->is_boolean()) return Error(path, "is neither true nor false");
  return std::optional<bool>(value->get<bool>());
}

absl::StatusOr<std::optional<std::string>> JsonFile::String(absl::string_view path) const {
  const json* value = Find(path);
  if (value == nullptr) return std::optional<std::string>();
  if (!value->is_string()) return Error(path, "is not a string");
  return std::optional<std::string>(value->get<std::string>());
}

}  // namespace bantam::convert
