#include "runtime/chat/print.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "runtime/base/status.h"
#include "runtime/chat/functions.h"
#include "runtime/chat/interpreter.h"
#include "runtime/chat/unicode.h"

namespace bantam::chat {
namespace {

absl::Status CheckDepth(int depth) {
  if (depth <= Limits::kValueDepth) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("a value to print is nested more than ",
                                                   Limits::kValueDepth, " deep or within itself"));
}

absl::Status CheckSize(const std::string& out) {
  if (static_cast<int64_t>(out.size()) <= Limits::kOutputBytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("a text is longer than ", Limits::kOutputBytes >> 20, " MiB"));
}

absl::Status AppendRepr(Heap& heap, const Value& value, int depth, std::string* out);

absl::Status AppendItems(Heap& heap, const std::vector<Value>& items, int depth, std::string* out) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) *out += ", ";
    BANTAM_RETURN_IF_ERROR(AppendRepr(heap, items[i], depth + 1, out));
  }
  return absl::OkStatus();
}

absl::Status AppendDict(Heap& heap, const Dict& dict, int depth, std::string* out) {
  *out += '{';
  bool first = true;
  for (const auto& [key, value] : dict.entries()) {
    if (!first) *out += ", ";
    first = false;
    BANTAM_RETURN_IF_ERROR(AppendRepr(heap, key, depth + 1, out));
    *out += ": ";
    BANTAM_RETURN_IF_ERROR(AppendRepr(heap, value, depth + 1, out));
  }
  *out += '}';
  return absl::OkStatus();
}

absl::Status AppendRepr(Heap& heap, const Value& value, int depth, std::string* out) {
  BANTAM_RETURN_IF_ERROR(CheckDepth(depth));
  BANTAM_RETURN_IF_ERROR(heap.Step());
  switch (value.kind()) {
    case Kind::kUndefined:
      *out += "Undefined";
      break;
    case Kind::kNone:
      *out += "None";
      break;
    case Kind::kBool:
      *out += value.boolean() ? "True" : "False";
      break;
    case Kind::kInt:
      absl::StrAppend(out, value.integer());
      break;
    case Kind::kFloat:
      *out += ReprFloat(value.number());
      break;
    case Kind::kString: {
      const auto size = static_cast<int64_t>(value.text().size());
      BANTAM_RETURN_IF_ERROR(heap.Step(size / Limits::kTextBytesPerStep));
      const std::string text = ReprText(value.text());
      absl::StrAppend(out, value.markup() ? "Markup(" : "", text, value.markup() ? ")" : "");
      break;
    }
    case Kind::kList:
      *out += '[';
      BANTAM_RETURN_IF_ERROR(AppendItems(heap, value.sequence()->items, depth, out));
      *out += ']';
      break;
    case Kind::kTuple:
      *out += '(';
      BANTAM_RETURN_IF_ERROR(AppendItems(heap, value.sequence()->items, depth, out));
      *out += value.sequence()->items.size() == 1 ? ",)" : ")";
      break;
    case Kind::kRange:
      *out += value.sequence()->label;
      break;
    case Kind::kView:
      absl::StrAppend(out, value.sequence()->label, "([");
      BANTAM_RETURN_IF_ERROR(AppendItems(heap, value.sequence()->items, depth, out));
      *out += "])";
      break;
    case Kind::kIterator:
      *out += "<generator object>";
      break;
    case Kind::kDict:
      BANTAM_RETURN_IF_ERROR(AppendDict(heap, *value.dict(), depth, out));
      break;
    case Kind::kNamespace:
      *out += "<Namespace ";
      BANTAM_RETURN_IF_ERROR(AppendDict(heap, *value.dict(), depth, out));
      *out += '>';
      break;
    case Kind::kLoop: {
      const Loop& loop = *value.loop();
      absl::StrAppend(out, "<LoopContext ", loop.index + 1, "/", loop.items->items.size(), ">");
      break;
    }
    case Kind::kCallable:
      absl::StrAppend(out, value.callable()->macro != nullptr ? "<Macro '" : "<function '",
                      value.callable()->name, "'>");
      break;
  }
  return CheckSize(*out);
}

class JsonWriter {
 public:
  JsonWriter(Heap& heap, const JsonStyle& style) : heap_(heap), style_(style) {}

  absl::Status Write(const Value& value, int depth = 0) {
    BANTAM_RETURN_IF_ERROR(CheckDepth(depth));
    BANTAM_RETURN_IF_ERROR(heap_.Step());
    switch (value.kind()) {
      case Kind::kNone:
      case Kind::kBool:
      case Kind::kInt:
      case Kind::kFloat:
        out += Scalar(value);
        return absl::OkStatus();
      case Kind::kString:
        return WriteText(value.text());
      case Kind::kList:
      case Kind::kTuple: {
        const auto& items = value.sequence()->items;
        if (items.empty()) {
          out += "[]";
          return absl::OkStatus();
        }
        out += '[';
        for (size_t i = 0; i < items.size(); ++i) {
          if (i > 0) out += style_.item_separator;
          NewLine(depth + 1);
          BANTAM_RETURN_IF_ERROR(Write(items[i], depth + 1));
        }
        NewLine(depth);
        out += ']';
        return CheckSize(out);
      }
      case Kind::kDict:
        return WriteDict(*value.dict(), depth);
      default:
        return absl::InvalidArgumentError(
            absl::StrCat("Object of type ", TypeName(value), " is not JSON serializable"));
    }
  }

  std::string out;

 private:
  void NewLine(int depth) {
    if (!style_.indent.has_value()) return;
    out += '\n';
    for (int i = 0; i < depth; ++i) out += *style_.indent;
  }

  static std::string Scalar(const Value& value) {
    if (value.Is(Kind::kNone)) return "null";
    if (value.Is(Kind::kBool)) return value.boolean() ? "true" : "false";
    if (value.Is(Kind::kInt)) return absl::StrCat(value.integer());
    const double number = value.number();
    if (std::isnan(number)) return "NaN";
    if (std::isinf(number)) return number < 0 ? "-Infinity" : "Infinity";
    return ReprFloat(number);
  }

  absl::Status WriteText(const std::string& text) {
    const auto size = static_cast<int64_t>(text.size());
    BANTAM_RETURN_IF_ERROR(heap_.Step(size / Limits::kTextBytesPerStep));
    out += '"';
    for (size_t pos = 0; pos < text.size();) {
      const size_t begin = pos;
      const char32_t c = NextCharacter(text, &pos);
      switch (c) {
        case '"':
          out += "\\\"";
          break;
        case '\\':
          out += "\\\\";
          break;
        case '\n':
          out += "\\n";
          break;
        case '\r':
          out += "\\r";
          break;
        case '\t':
          out += "\\t";
          break;
        case '\b':
          out += "\\b";
          break;
        case '\f':
          out += "\\f";
          break;
        default:
          if (c < 0x20 || (c >= 0x7F && style_.ensure_ascii && c != 0x7F && c < 0x10000)) {
            absl::StrAppendFormat(&out, "\\u%04x", static_cast<uint32_t>(c));
          } else if (c >= 0x10000 && style_.ensure_ascii) {
            const auto rest = static_cast<uint32_t>(c) - 0x10000;
            absl::StrAppendFormat(&out, "\\u%04x\\u%04x", 0xD800 + (rest >> 10),
                                  0xDC00 + (rest & 0x3FF));
          } else {
            out.append(text, begin, pos - begin);
          }
      }
    }
    out += '"';
    return CheckSize(out);
  }

  absl::Status WriteDict(const Dict& dict, int depth) {
    if (dict.entries().empty()) {
      out += "{}";
      return absl::OkStatus();
    }
    std::vector<const Dict::Entry*> entries;
    for (const auto& entry : dict.entries()) entries.push_back(&entry);
    if (style_.sort_keys) {
      absl::Status status;
      std::stable_sort(entries.begin(), entries.end(), [&](const auto* a, const auto* b) {
        const auto order = Compare(heap_, a->first, b->first);
        status.Update(order.status());
        return order.ok() && *order < 0;
      });
      BANTAM_RETURN_IF_ERROR(status);
    }
    out += '{';
    bool first = true;
    for (const Dict::Entry* entry : entries) {
      if (!first) out += style_.item_separator;
      first = false;
      NewLine(depth + 1);
      const Value& key = entry->first;
      if (key.IsString()) {
        BANTAM_RETURN_IF_ERROR(WriteText(key.text()));
      } else if (key.IsNumber() || key.Is(Kind::kNone)) {
        absl::StrAppend(&out, "\"", Scalar(key), "\"");
      } else {
        return absl::InvalidArgumentError(
            absl::StrCat("keys must be str, int, float, bool or None, not ", TypeName(key)));
      }
      out += style_.key_separator;
      BANTAM_RETURN_IF_ERROR(Write(entry->second, depth + 1));
    }
    NewLine(depth);
    out += '}';
    return CheckSize(out);
  }

  Heap& heap_;
  const JsonStyle& style_;
};

}  // namespace

absl::StatusOr<std::string> Str(Heap& heap, const Value& value) {
  if (value.IsString()) return value.text();
  if (value.IsUndefined()) return "";
  return Repr(heap, value);
}

absl::StatusOr<std::string> Repr(Heap& heap, const Value& value) {
  std::string out;
  BANTAM_RETURN_IF_ERROR(AppendRepr(heap, value, 0, &out));
  return out;
}

absl::StatusOr<std::string> ToJson(Heap& heap, const Value& value, const JsonStyle& style) {
  JsonWriter writer(heap, style);
  BANTAM_RETURN_IF_ERROR(writer.Write(value));
  return std::move(writer.out);
}

absl::StatusOr<Value> FromJsonText(Heap& heap, const std::string& text) {
  BANTAM_RETURN_IF_ERROR(heap.Step(static_cast<int64_t>(text.size())));
  const auto json = nlohmann::ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return absl::InvalidArgumentError("from_json: the text is not JSON");
  return heap.FromJson(json);
}

}  // namespace bantam::chat
