#include "runtime/graph/text.h"

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace bantam::graph {

std::string ShapeText(const Shape& shape) {
  int dims = kMaxDims;
  while (dims > 1 && shape[dims - 1] == 1) --dims;
  std::string text = "[";
  for (int d = 0; d < dims; ++d) {
    absl::StrAppend(&text, d > 0 ? ", " : "");
    if (shape[d] == kAnySize) {
      text += '?';
    } else {
      absl::StrAppend(&text, shape[d]);
    }
  }
  return text + "]";
}

std::string TypeText(quant::Type type) {
  const auto id = static_cast<uint32_t>(type);
  if (!quant::IsValidType(id)) return absl::StrCat("type ", id);
  return absl::AsciiStrToLower(quant::Name(type));
}

std::string QuotedName(absl::string_view name) {
  return absl::StrCat("\"", absl::Utf8SafeCEscape(name), "\"");
}

std::string TypeAndShapeText(quant::Type type, const Shape& shape) {
  return absl::StrCat(TypeText(type), " ", ShapeText(shape));
}

}  // namespace bantam::graph
