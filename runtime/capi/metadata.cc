#include "runtime/capi/metadata.h"

#include <charconv>
#include <cmath>
#include <type_traits>

#include "nlohmann/json.hpp"

namespace bantam::capi {
namespace {

template <typename T>
void AppendNumber(T value, std::string& out) {
  char digits[32];
  const auto end = std::to_chars(std::begin(digits), std::end(digits), value).ptr;
  out.append(digits, end);
}

void AppendJson(const gguf::MetaValue& value, std::string& out);

void AppendArray(const gguf::MetaArray& array, std::string& out) {
  out += '[';
  for (uint64_t i = 0; i < array.count; ++i) {
    if (i > 0) out += ',';
    switch (array.element) {
      case gguf::MetaType::kString:
        AppendJson(array.strings[i], out);
        break;
      case gguf::MetaType::kArray:
        AppendJson(array.arrays[i], out);
        break;
      default:
        AppendJson(array.At(i), out);
    }
  }
  out += ']';
}

void AppendJson(const gguf::MetaValue& value, std::string& out) {
  std::visit(
      [&out](const auto& v) {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, absl::string_view>) {
          out += nlohmann::json(std::string(v))
                     .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
        } else if constexpr (std::is_same_v<T, bool>) {
          out += v ? "true" : "false";
        } else if constexpr (std::is_floating_point_v<T>) {
          if (std::isfinite(v)) {
            AppendNumber(v, out);
          } else {
            out += "null";
          }
        } else if constexpr (std::is_integral_v<T>) {
          AppendNumber(v, out);
        } else if (v != nullptr) {
          AppendArray(*v, out);
        }
      },
      value);
}

}  // namespace

std::string MetadataText(const gguf::MetaValue& value) {
  if (const auto* text = std::get_if<absl::string_view>(&value)) return std::string(*text);
  std::string out;
  AppendJson(value, out);
  return out;
}

}  // namespace bantam::capi
