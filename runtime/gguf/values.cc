// Typed access to metadata values.
#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/base/printable.h"
#include "runtime/gguf/file.h"
#include "runtime/gguf/layout.h"

namespace bantam::gguf {
namespace {

template <typename T>
constexpr bool kIsInteger = std::is_integral_v<T> && !std::is_same_v<T, bool>;

// The value as To when it is of an integer type and in range.
template <typename To>
std::optional<To> AsInteger(const MetaValue& value) {
  return std::visit(
      [](const auto& v) -> std::optional<To> {
        using V = std::decay_t<decltype(v)>;
        if constexpr (kIsInteger<V>) {
          if (std::in_range<To>(v)) return static_cast<To>(v);
        }
        return std::nullopt;
      },
      value);
}

// nullopt also for a number beyond the range of float: converting it would lose it silently.
std::optional<float> AsFloat32(const MetaValue& value) {
  const std::optional<double> number = AsFloat(value);
  if (!number.has_value()) return std::nullopt;
  if (std::isfinite(*number) && std::abs(*number) > std::numeric_limits<float>::max()) {
    return std::nullopt;
  }
  return static_cast<float>(*number);
}

std::optional<bool> AsBool(const MetaValue& value) {
  const bool* flag = std::get_if<bool>(&value);
  return flag == nullptr ? std::nullopt : std::optional<bool>(*flag);
}

absl::Status Missing(const File& file, absl::string_view key) {
  return absl::NotFoundError(absl::StrCat(file.path(), ": key '", key, "' is missing"));
}

absl::Status Unexpected(const File& file, absl::string_view key, absl::string_view found,
                        absl::string_view expected) {
  return absl::InvalidArgumentError(
      absl::StrCat(file.path(), ": key '", key, "' is ", found, "; expected ", expected));
}

template <typename T>
absl::StatusOr<T> Get(const File& file, absl::string_view key, absl::string_view expected,
                      std::optional<T> (*convert)(const MetaValue&)) {
  const MetaValue* value = file.Find(key);
  if (value == nullptr) return Missing(file, key);
  const std::optional<T> result = convert(*value);
  if (!result.has_value()) return Unexpected(file, key, DescribeValue(*value), expected);
  return *result;
}

const MetaArray* AsArray(const MetaValue& value) {
  const auto* array = std::get_if<std::shared_ptr<const MetaArray>>(&value);
  return array == nullptr ? nullptr : array->get();
}

template <typename T>
absl::StatusOr<std::vector<T>> GetArray(const File& file, absl::string_view key,
                                        absl::string_view expected,
                                        std::optional<T> (*convert)(const MetaValue&)) {
  const MetaValue* value = file.Find(key);
  if (value == nullptr) return Missing(file, key);
  const MetaArray* array = AsArray(*value);
  if (array == nullptr || FixedBytes(array->element) == 0) {
    return Unexpected(file, key, DescribeValue(*value), expected);
  }
  std::vector<T> result;
  result.reserve(array->count);
  for (uint64_t i = 0; i < array->count; ++i) {
    const std::optional<T> element = convert(array->At(i));
    if (!element.has_value()) {
      return Unexpected(file, key,
                        absl::StrCat(DescribeValue(*value), " with ", DescribeValue(array->At(i)),
                                     " at index ", i),
                        expected);
    }
    result.push_back(*element);
  }
  return result;
}

}  // namespace

std::optional<int64_t> AsInt(const MetaValue& value) { return AsInteger<int64_t>(value); }
std::optional<uint64_t> AsUint(const MetaValue& value) { return AsInteger<uint64_t>(value); }

std::optional<double> AsFloat(const MetaValue& value) {
  return std::visit(
      [](const auto& v) -> std::optional<double> {
        using V = std::decay_t<decltype(v)>;
        if constexpr (kIsInteger<V> || std::is_floating_point_v<V>) return static_cast<double>(v);
        return std::nullopt;
      },
      value);
}

std::string DescribeValue(const MetaValue& value) {
  const absl::string_view type = MetaTypeName(TypeOf(value));
  return std::visit(
      [type](const auto& v) -> std::string {
        using V = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<V, absl::string_view>) {
          return absl::StrCat("the string '", Printable(v, 40), "'");
        } else if constexpr (std::is_same_v<V, std::shared_ptr<const MetaArray>>) {
          return v == nullptr ? "no array"
                              : absl::StrCat("an array of ", v->count, " ",
                                             MetaTypeName(v->element), " values");
        } else if constexpr (std::is_same_v<V, bool>) {
          return v ? "the bool true" : "the bool false";
        } else {
          return absl::StrCat("the ", type, " ", v);
        }
      },
      value);
}

MetaValue MetaArray::At(uint64_t i) const {
  return LoadFixed(element, raw.data() + i * FixedBytes(element));
}

absl::StatusOr<uint64_t> File::GetUint(absl::string_view key) const {
  return Get<uint64_t>(*this, key, "an integer that is not negative", AsUint);
}

absl::StatusOr<int64_t> File::GetInt(absl::string_view key) const {
  return Get<int64_t>(*this, key, "an integer below 2^63", AsInt);
}

absl::StatusOr<double> File::GetFloat(absl::string_view key) const {
  return Get<double>(*this, key, "a number", AsFloat);
}

absl::StatusOr<bool> File::GetBool(absl::string_view key) const {
  return Get<bool>(*this, key, "a bool", AsBool);
}

absl::StatusOr<absl::string_view> File::GetString(absl::string_view key) const {
  const MetaValue* value = Find(key);
  if (value == nullptr) return Missing(*this, key);
  const auto* text = std::get_if<absl::string_view>(value);
  if (text == nullptr) return Unexpected(*this, key, DescribeValue(*value), "a string");
  return *text;
}

absl::StatusOr<std::vector<int64_t>> File::GetInts(absl::string_view key) const {
  return GetArray<int64_t>(*this, key, "an array of integers below 2^63", AsInt);
}

absl::StatusOr<std::vector<float>> File::GetFloats(absl::string_view key) const {
  return GetArray<float>(*this, key, "an array of numbers in the range of float32", AsFloat32);
}

absl::StatusOr<std::span<const absl::string_view>> File::GetStrings(absl::string_view key) const {
  const MetaValue* value = Find(key);
  if (value == nullptr) return Missing(*this, key);
  const MetaArray* array = AsArray(*value);
  if (array == nullptr || array->element != MetaType::kString) {
    return Unexpected(*this, key, DescribeValue(*value), "an array of strings");
  }
  return std::span<const absl::string_view>(array->strings);
}

}  // namespace bantam::gguf
