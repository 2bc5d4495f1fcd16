// A small JSON schema validator, written from the specification (draft 2020-12) alone.
#pragma once

#include <cmath>
#include <cstdio>
#include <regex>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "nlohmann/json.hpp"

namespace bantam::testing {

using OrderedJson = nlohmann::ordered_json;

inline bool HasType(const OrderedJson& value, const std::string& type) {
  if (type == "null") return value.is_null();
  if (type == "boolean") return value.is_boolean();
  if (type == "string") return value.is_string();
  if (type == "array") return value.is_array();
  if (type == "object") return value.is_object();
  if (!value.is_number()) return false;
  return type == "number" || value.get<double>() == std::floor(value.get<double>());
}

inline int64_t CodePoints(const std::string& text) {
  int64_t count = 0;
  for (char c : text) count += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return count;
}

inline bool IsDate(const std::string& text) {
  int y = 0, m = 0, d = 0, used = 0;
  if (std::sscanf(text.c_str(), "%4d-%2d-%2d%n", &y, &m, &d, &used) != 3) return false;
  if (used != 10 || text.size() != 10 || m < 1 || m > 12 || d < 1) return false;
  const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  const bool leap = y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
  return d <= days[m - 1] + (m == 2 && leap);
}

inline bool HasFormat(const std::string& text, const std::string& format) {
  static const std::regex time(
      "([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d+)?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)");
  static const std::regex uuid("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}");
  if (format == "date") return IsDate(text);
  if (format == "time") return std::regex_match(text, time);
  if (format == "uuid") return std::regex_match(text, uuid);
  return format == "date-time" && text.size() > 11 && IsDate(text.substr(0, 10)) &&
         text[10] == 'T' && std::regex_match(text.substr(11), time);
}

// What makes `value` invalid, or "".
inline std::string SchemaProblem(const OrderedJson& schema, const OrderedJson& value,
                                 const OrderedJson& root) {
  if (schema.is_boolean()) return schema.get<bool>() ? "" : "false";
  auto valid = [&root](const OrderedJson& s, const OrderedJson& v) {
    return SchemaProblem(s, v, root).empty();
  };
  for (const auto& [key, arg] : schema.items()) {
    const auto fails = [&, k = key] {
      return absl::StrCat(k, " ", arg.dump(), " on ", value.dump());
    };
    bool ok = true;
    if (key == "type") {
      ok = arg.is_string() ? HasType(value, arg) : false;
      if (arg.is_array()) {
        for (const auto& type : arg) ok |= HasType(value, type);
      }
    } else if (key == "enum") {
      ok = false;
      for (const auto& option : arg) ok |= option == value;
    } else if (key == "const") {
      ok = arg == value;
    } else if (key == "$ref") {
      const auto pointer = OrderedJson::json_pointer(arg.get<std::string>().substr(1));
      ok = valid(root.at(pointer), value);
    } else if (key == "anyOf" || key == "oneOf" || key == "allOf") {
      size_t matching = 0;
      for (const auto& branch : arg) matching += valid(branch, value);
      ok = key == "allOf" ? matching == arg.size() : key == "oneOf" ? matching == 1 : matching > 0;
    } else if (value.is_number()) {
      const auto number = value.get<double>();
      if (key == "minimum") ok = number >= arg.get<double>();
      if (key == "maximum") ok = number <= arg.get<double>();
      if (key == "exclusiveMinimum") ok = number > arg.get<double>();
      if (key == "exclusiveMaximum") ok = number < arg.get<double>();
    } else if (value.is_string()) {
      const std::string text = value;
      if (key == "minLength") ok = CodePoints(text) >= arg.get<int64_t>();
      if (key == "maxLength") ok = CodePoints(text) <= arg.get<int64_t>();
      if (key == "format") ok = HasFormat(text, arg);
      if (key == "pattern") ok = std::regex_search(text, std::regex(arg.get<std::string>()));
    } else if (value.is_array()) {
      const size_t prefix = schema.contains("prefixItems") ? schema["prefixItems"].size() : 0;
      if (key == "minItems") ok = value.size() >= arg.get<size_t>();
      if (key == "maxItems") ok = value.size() <= arg.get<size_t>();
      for (size_t i = 0; i < value.size(); ++i) {
        if (key == "prefixItems" && i < prefix) ok &= valid(arg[i], value[i]);
        if (key == "items" && i >= prefix) ok &= valid(arg, value[i]);
      }
    } else if (value.is_object()) {
      for (const auto& [name, member] : value.items()) {
        const bool named = schema.contains("properties") && schema["properties"].contains(name);
        if (key == "properties" && named) ok &= valid(arg[name], member);
        if (key == "additionalProperties" && !named) ok &= valid(arg, member);
      }
      if (key == "required") {
        for (const auto& name : arg) ok &= value.contains(name.get<std::string>());
      }
    }
    if (!ok) return fails();
  }
  return "";
}

}  // namespace bantam::testing
