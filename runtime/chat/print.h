// Values as text: Python's str() and repr(), and JSON as Python's json module writes it.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "runtime/chat/value.h"

namespace bantam::chat {

// All give kResourceExhausted for a value nested too deeply (or within itself) or too long a text.
absl::StatusOr<std::string> Str(Heap& heap, const Value& value);
absl::StatusOr<std::string> Repr(Heap& heap, const Value& value);

struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::optional<std::string> indent;  // one level; absent: all on one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};

// kInvalidArgument for a value JSON has no form for, an undefined one included.
absl::StatusOr<std::string> ToJson(Heap& heap, const Value& value, const JsonStyle& style);
// kInvalidArgument when `text` is not JSON.
absl::StatusOr<Value> FromJsonText(Heap& heap, const std::string& text);

}  // namespace bantam::chat
