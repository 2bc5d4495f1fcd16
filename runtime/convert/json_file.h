// JSON files of a model folder: parsed without exceptions, read with errors that name the file and
// the key.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace bantam::convert {

// Keys with dots are paths: "rope_parameters.rope_theta". What is null counts as absent.
class JsonFile {
 public:
  // kInvalidArgument when it is not one JSON object; `name` is used in messages.
  static absl::StatusOr<JsonFile> Parse(absl::string_view text, std::string name);
  // kNotFound when there is no such file.
  static absl::StatusOr<JsonFile> Open(const std::string& path);

  // The value at `there` as that of `usual` too, where that has none.
  void Alias(absl::string_view there, absl::string_view usual);

  const std::string& name() const { return name_; }
  const nlohmann::json& root() const { return root_; }
  // nullptr when absent.
  const nlohmann::json* Find(absl::string_view path) const;
  // Nothing when absent; kInvalidArgument when of another type.
  absl::StatusOr<std::optional<int64_t>> Int(absl::string_view path) const;
  absl::StatusOr<std::optional<double>> Number(absl::string_view path) const;
  absl::StatusOr<std::optional<bool>> Bool(absl::string_view path) const;
  absl::StatusOr<std::optional<std::string>> String(absl::string_view path) const;

  // kInvalidArgument: "<file>: <path> <message>".
  absl::Status Error(absl::string_view path, absl::string_view message) const;

 private:
  std::string name_;
  nlohmann::json root_;
};

}  // namespace bantam::convert
