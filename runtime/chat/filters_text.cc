// Filters on one value: text, numbers, JSON.
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "runtime/base/status.h"
#include "runtime/chat/format.h"
#include "runtime/chat/functions.h"
#include "runtime/chat/interpreter.h"
#include "runtime/chat/operators.h"
#include "runtime/chat/print.h"
#include "runtime/chat/unicode.h"

namespace bantam::chat {
namespace {

using Result = absl::StatusOr<Value>;

bool IsGiven(const Value* value) { return value != nullptr && !value->Is(Kind::kNone); }

absl::StatusOr<int64_t> IntegerOr(absl::string_view what, const Value* value, int64_t otherwise) {
  if (value == nullptr) return otherwise;
  if (value->IsInteger()) return value->integer();
  return absl::InvalidArgumentError(absl::StrCat(what, " takes an int, not a ", TypeName(*value)));
}

template <std::string (*Change)(absl::string_view)>
Result Mapped(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  BANTAM_RETURN_IF_ERROR(arguments.Bind("the filter", {}).status());
  BANTAM_ASSIGN_OR_RETURN(const std::string text, Str(interpreter.heap(), input));
  return interpreter.String(Change(text), input.markup());
}

Result Title(Interpreter& interpreter, const Value& input, const Arguments&) {
  BANTAM_ASSIGN_OR_RETURN(const std::string text, Str(interpreter.heap(), input));
  return interpreter.String(TitleFilter(text));
}

Result Trim(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("trim", {"chars"}));
  BANTAM_ASSIGN_OR_RETURN(const std::string text, Str(interpreter.heap(), input));
  const std::string* chars = nullptr;
  if (IsGiven(bound[0])) {
    if (!bound[0]->IsString()) return absl::InvalidArgumentError("trim takes a str");
    chars = &bound[0]->text();
    const auto size = static_cast<int64_t>(chars->size());
    BANTAM_RETURN_IF_ERROR(interpreter.heap().Step(size * static_cast<int64_t>(text.size()) / 64));
  }
  return interpreter.String(std::string(StripRight(StripLeft(text, chars), chars)), input.markup());
}

Result ReplaceFilter(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  Heap& heap = interpreter.heap();
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("replace", {"old", "new", "count"}, 2));
  BANTAM_ASSIGN_OR_RETURN(const std::string text, Str(heap, input));
  BANTAM_ASSIGN_OR_RETURN(const std::string from, Str(heap, *bound[0]));
  BANTAM_ASSIGN_OR_RETURN(const std::string to, Str(heap, *bound[1]));
  BANTAM_ASSIGN_OR_RETURN(const int64_t count,
                          IntegerOr("replace", IsGiven(bound[2]) ? bound[2] : nullptr, -1));
  std::string out;
  if (!Replace(text, from, to, count, Limits::kOutputBytes, &out)) {
    return absl::ResourceExhaustedError("the result of replace is too long");
  }
  return interpreter.String(std::move(out));
}

Result StringFilter(Interpreter& interpreter, const Value& input, const Arguments&) {
  if (input.IsString()) return input;
  BANTAM_ASSIGN_OR_RETURN(std::string text, Str(interpreter.heap(), input));
  return interpreter.String(std::move(text));
}

Result Safe(Interpreter& interpreter, const Value& input, const Arguments&) {
  BANTAM_ASSIGN_OR_RETURN(std::string text, Str(interpreter.heap(), input));
  return interpreter.String(std::move(text), true);
}

Result Escape(Interpreter& interpreter, const Value& input, const Arguments&) {
  if (input.markup()) return input;
  BANTAM_ASSIGN_OR_RETURN(const std::string text, Str(interpreter.heap(), input));
  return interpreter.String(EscapeHtml(text), true);
}

Result ForceEscape(Interpreter& interpreter, const Value& input, const Arguments&) {
  BANTAM_ASSIGN_OR_RETURN(const std::string text, Str(interpreter.heap(), input));
  return interpreter.String(EscapeHtml(text), true);
}

Result Indent(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("indent", {"width", "first", "blank"}));
  if (input.IsUndefined()) return absl::InvalidArgumentError(input.text());
  if (!input.IsString()) {
    return absl::InvalidArgumentError(absl::StrCat("indent takes a str, not a ", TypeName(input)));
  }
  std::string indent(4, ' ');
  if (bound[0] != nullptr && bound[0]->IsString()) {
    indent = bound[0]->text();
  } else if (bound[0] != nullptr) {
    BANTAM_ASSIGN_OR_RETURN(const int64_t width, IntegerOr("indent", bound[0], 4));
    indent.assign(std::clamp<int64_t>(width, 0, 10'000), ' ');
  }
  const bool first = bound[1] != nullptr && Truth(*bound[1]);
  const bool blank = bound[2] != nullptr && Truth(*bound[2]);
  const std::string text = input.text() + "\n";  // so that a last empty line counts as one
  const auto lines = SplitLines(text);
  if ((lines.size() + 1) * indent.size() + text.size() >
      static_cast<size_t>(Limits::kOutputBytes)) {
    return absl::ResourceExhaustedError("the result of indent is too long");
  }
  std::string out;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += '\n';
    if (i == 0 ? first : blank || !lines[i].empty()) out += indent;
    absl::StrAppend(&out, lines[i]);
  }
  return interpreter.String(std::move(out), input.markup());
}

Result FormatFilter(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  Heap& heap = interpreter.heap();
  if (!arguments.positional.empty() && !arguments.keyword.empty()) {
    return absl::InvalidArgumentError("format takes positional or keyword arguments, not both");
  }
  Value values;
  if (arguments.keyword.empty()) {
    BANTAM_ASSIGN_OR_RETURN(values, heap.List(arguments.positional, Kind::kTuple));
  } else {
    BANTAM_ASSIGN_OR_RETURN(Dict * dict, heap.NewDict());
    for (const auto& [name, value] : arguments.keyword) {
      BANTAM_RETURN_IF_ERROR(dict->Set(heap, Value::Constant(name), value));
    }
    values = Value::Of(dict);
  }
  BANTAM_ASSIGN_OR_RETURN(const Value format, StringFilter(interpreter, input, Arguments()));
  BANTAM_ASSIGN_OR_RETURN(std::string text, FormatPercent(heap, format, values));
  return interpreter.String(std::move(text), format.markup());
}

// Hugging Face's tojson: json.dumps with ensure_ascii off, and no escaping for HTML.
Result ToJsonFilter(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("tojson", {"ensure_ascii", "indent",
                                                                      "separators", "sort_keys"}));
  JsonStyle style;
  style.ensure_ascii = bound[0] != nullptr && Truth(*bound[0]);
  style.sort_keys = bound[3] != nullptr && Truth(*bound[3]);
  if (IsGiven(bound[1])) {
    if (bound[1]->IsString()) {
      style.indent = bound[1]->text();
    } else {
      BANTAM_ASSIGN_OR_RETURN(const int64_t width, IntegerOr("tojson(indent)", bound[1], 0));
      style.indent = std::string(std::clamp<int64_t>(width, 0, 1'000), ' ');
    }
    if (style.indent->size() > 1'000) {
      return absl::InvalidArgumentError("the indent of tojson is longer than 1000");
    }
    style.item_separator.assign(1, ',');
  }
  if (IsGiven(bound[2])) {
    BANTAM_ASSIGN_OR_RETURN(const Sequence* parts, Iterate(interpreter.heap(), *bound[2]));
    if (parts->items.size() != 2 || !parts->items[0].IsString() || !parts->items[1].IsString()) {
      return absl::InvalidArgumentError("the separators of tojson are two strings");
    }
    style.item_separator = parts->items[0].text();
    style.key_separator = parts->items[1].text();
  }
  BANTAM_ASSIGN_OR_RETURN(std::string text, ToJson(interpreter.heap(), input, style));
  return interpreter.String(std::move(text));
}

Result FromJsonFilter(Interpreter& interpreter, const Value& input, const Arguments&) {
  if (input.IsUndefined()) return absl::InvalidArgumentError(input.text());
  if (!input.IsString()) return absl::InvalidArgumentError("from_json takes a str");
  return FromJsonText(interpreter.heap(), input.text());
}

// Digits may have single underscores between them in Python.
std::optional<std::string> WithoutUnderscores(absl::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out += text[i];
    } else if (i == 0 || i + 1 == text.size() || !absl::ascii_isalnum(text[i - 1]) ||
               !absl::ascii_isalnum(text[i + 1])) {
      return std::nullopt;
    }
  }
  return out;
}

std::optional<double> ParseFloat(absl::string_view text) {
  const auto digits = WithoutUnderscores(StripRight(StripLeft(text)));
  double number = 0;
  // No hexadecimal, which SimpleAtod reads and Python does not.
  if (!digits.has_value() || digits->empty() || digits->find_first_of("xX") != std::string::npos ||
      !absl::SimpleAtod(*digits, &number)) {
    return std::nullopt;
  }
  return number;
}

// int(text, base): nullopt when it is not one.
absl::StatusOr<std::optional<int64_t>> ParseInteger(absl::string_view text, int64_t base) {
  const auto cleaned = WithoutUnderscores(StripRight(StripLeft(text)));
  if (!cleaned.has_value()) return std::nullopt;
  absl::string_view digits = *cleaned;
  const bool negative = absl::StartsWith(digits, "-");
  if (negative || absl::StartsWith(digits, "+")) digits.remove_prefix(1);
  const std::string start = absl::AsciiStrToLower(digits.substr(0, 2));
  const int64_t prefix = start == "0x" ? 16 : start == "0o" ? 8 : start == "0b" ? 2 : 0;
  if (prefix != 0 && (base == 0 || base == prefix)) {
    digits.remove_prefix(2);
    base = prefix;
  }
  if (base == 0) base = 10;
  if (digits.empty()) return std::nullopt;
  int64_t number = 0;
  for (const char c : digits) {
    const int digit = absl::ascii_isdigit(c)   ? c - '0'
                      : absl::ascii_isalpha(c) ? absl::ascii_tolower(c) - 'a' + 10
                                               : 99;
    if (digit >= base) return std::nullopt;
    if (__builtin_mul_overflow(number, base, &number) ||
        __builtin_sub_overflow(number, digit, &number)) {  // towards the lower end, which is wider
      return absl::InvalidArgumentError("int: the number needs more than 64 bits");
    }
  }
  if (!negative && number == std::numeric_limits<int64_t>::min()) {
    return absl::InvalidArgumentError("int: the number needs more than 64 bits");
  }
  return negative ? number : -number;
}

absl::StatusOr<Value> Truncated(double number) {
  if (std::fabs(number) >= 9223372036854775808.0) {
    return absl::InvalidArgumentError("int: the number needs more than 64 bits");
  }
  return Value::Int(static_cast<int64_t>(number));
}

Result IntFilter(Interpreter&, const Value& input, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("int", {"default", "base"}));
  const Value otherwise = bound[0] != nullptr ? *bound[0] : Value::Int(0);
  if (input.IsUndefined()) return absl::InvalidArgumentError(input.text());
  if (input.IsInteger()) return Value::Int(input.integer());
  if (input.Is(Kind::kFloat)) {
    return std::isnan(input.number()) ? otherwise : Truncated(input.number());
  }
  if (!input.IsString()) return otherwise;
  // With a base that is none the text may still be a decimal fraction.
  const int64_t base = bound[1] == nullptr ? 10 : bound[1]->IsInteger() ? bound[1]->integer() : -1;
  if (base == 0 || (base >= 2 && base <= 36)) {
    BANTAM_ASSIGN_OR_RETURN(const auto integer, ParseInteger(input.text(), base));
    if (integer.has_value()) return Value::Int(*integer);
  }
  const auto number = ParseFloat(input.text());
  if (!number.has_value() || !std::isfinite(*number)) return otherwise;
  return Truncated(*number);
}

Result FloatFilter(Interpreter&, const Value& input, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("float", {"default"}));
  const Value otherwise = bound[0] != nullptr ? *bound[0] : Value::Float(0);
  if (input.IsUndefined()) return absl::InvalidArgumentError(input.text());
  if (input.IsNumber()) return Value::Float(input.number());
  if (!input.IsString()) return otherwise;
  const auto number = ParseFloat(input.text());
  return number.has_value() ? Value::Float(*number) : otherwise;
}

Result Abs(Interpreter&, const Value& input, const Arguments&) {
  if (input.IsUndefined()) return absl::InvalidArgumentError(input.text());
  if (input.Is(Kind::kFloat)) return Value::Float(std::fabs(input.number()));
  if (!input.IsInteger()) {
    return absl::InvalidArgumentError(absl::StrCat("abs does not take a ", TypeName(input)));
  }
  return input.integer() < 0 ? Negate(input) : Value::Int(input.integer());
}

Result Round(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("round", {"precision", "method"}));
  BANTAM_ASSIGN_OR_RETURN(const int64_t precision, IntegerOr("round", bound[0], 0));
  BANTAM_ASSIGN_OR_RETURN(const std::string method, bound[1] != nullptr
                                                        ? Str(interpreter.heap(), *bound[1])
                                                        : std::string("common"));
  if (input.IsUndefined()) return absl::InvalidArgumentError(input.text());
  if (!input.IsNumber()) {
    return absl::InvalidArgumentError(absl::StrCat("round does not take a ", TypeName(input)));
  }
  if (precision < 0 || precision > 100) {
    return absl::UnimplementedError("a precision of round outside 0 to 100 is not supported");
  }
  if (method == "common") {
    if (input.IsInteger()) return Value::Int(input.integer());
    if (!std::isfinite(input.number())) return input;
    // Printing rounds the exact binary value, to even when it lies in the middle, as Python does.
    double rounded = 0;
    if (!absl::SimpleAtod(absl::StrFormat("%.*f", static_cast<int>(precision), input.number()),
                          &rounded)) {
      return absl::InternalError("round: a printed number does not read back");
    }
    return Value::Float(rounded);
  }
  if (method != "ceil" && method != "floor") {
    return absl::InvalidArgumentError("the method of round is common, ceil or floor");
  }
  const double scale = std::pow(10.0, static_cast<double>(precision));
  const double scaled = input.number() * scale;
  return Value::Float((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
}

Result LengthFilter(Interpreter&, const Value& input, const Arguments&) {
  BANTAM_ASSIGN_OR_RETURN(const int64_t length, Length(input));
  return Value::Int(length);
}

Result Default(Interpreter&, const Value& input, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound,
                          arguments.Bind("default", {"default_value", "boolean"}));
  const bool for_false = bound[1] != nullptr && Truth(*bound[1]);
  if (!input.IsUndefined() && !(for_false && !Truth(input))) return input;
  return bound[0] != nullptr ? *bound[0] : Value::Constant("");
}

Result Center(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("center", {"width"}));
  const Value width = bound[0] != nullptr ? *bound[0] : Value::Int(80);
  BANTAM_ASSIGN_OR_RETURN(const Value text, StringFilter(interpreter, input, Arguments()));
  return FindMethod(Kind::kString, "center")(interpreter, text, Arguments{.positional = {width}});
}

Result WordCount(Interpreter& interpreter, const Value& input, const Arguments&) {
  BANTAM_ASSIGN_OR_RETURN(const std::string text, Str(interpreter.heap(), input));
  int64_t count = 0;
  bool in_word = false;
  for (size_t pos = 0; pos < text.size();) {
    const bool word = IsWord(NextCharacter(text, &pos));
    if (word && !in_word) ++count;
    in_word = word;
  }
  return Value::Int(count);
}

Result Truncate(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound,
                          arguments.Bind("truncate", {"length", "killwords", "end", "leeway"}));
  if (!input.IsString()) return absl::InvalidArgumentError("truncate takes a str");
  BANTAM_ASSIGN_OR_RETURN(const int64_t length, IntegerOr("truncate", bound[0], 255));
  BANTAM_ASSIGN_OR_RETURN(const int64_t leeway,
                          IntegerOr("truncate", IsGiven(bound[3]) ? bound[3] : nullptr, 5));
  BANTAM_ASSIGN_OR_RETURN(const std::string end, bound[2] != nullptr
                                                     ? Str(interpreter.heap(), *bound[2])
                                                     : std::string("..."));
  const int64_t end_length = CharacterCount(end);
  if (length < end_length || leeway < 0 || length > Limits::kOutputBytes ||
      leeway > Limits::kOutputBytes) {
    return absl::InvalidArgumentError("truncate: bad length or leeway");
  }
  const int64_t have = CharacterCount(input.text());
  if (have <= length + leeway) return input;
  absl::string_view kept = CharacterRange(input.text(), 0, length - end_length);
  if (bound[1] == nullptr || !Truth(*bound[1])) {
    const size_t space = kept.rfind(' ');
    if (space != absl::string_view::npos) kept = kept.substr(0, space);
  }
  return interpreter.String(absl::StrCat(kept, end), input.markup());
}

Result UrlEncode(Interpreter& interpreter, const Value& input, const Arguments&) {
  if (!input.IsString() && (input.HasSequence() || input.Is(Kind::kDict))) {
    return absl::UnimplementedError("urlencode of a mapping or list is not supported");
  }
  BANTAM_ASSIGN_OR_RETURN(const std::string text, Str(interpreter.heap(), input));
  std::string out;
  for (const char c : text) {
    if (absl::ascii_isalnum(static_cast<unsigned char>(c)) || absl::StrContains("_.-~/", c)) {
      out += c;
    } else {
      absl::StrAppendFormat(&out, "%%%02X", static_cast<unsigned char>(c));
    }
  }
  return interpreter.String(std::move(out));
}

Result Attr(Interpreter& interpreter, const Value& input, const Arguments& arguments) {
  BANTAM_ASSIGN_OR_RETURN(const auto bound, arguments.Bind("attr", {"name"}, 1));
  if (!bound[0]->IsString()) return absl::InvalidArgumentError("attr takes a str");
  // Only real attributes: the keys of a dict are not among them.
  if (input.Is(Kind::kDict) && FindMethod(Kind::kDict, bound[0]->text()) == nullptr) {
    return Value::Undefined(
        absl::StrCat("'dict object' has no attribute ", ReprText(bound[0]->text())));
  }
  return interpreter.Attribute(input, bound[0]->text());
}

}  // namespace

Filter FindTextFilter(absl::string_view name) {
  static const auto* const kFilters = new absl::flat_hash_map<absl::string_view, Filter>{
      {"trim", Trim},
      {"upper", Mapped<Upper>},
      {"lower", Mapped<Lower>},
      {"capitalize", Mapped<Capitalize>},
      {"title", Title},
      {"replace", ReplaceFilter},
      {"string", StringFilter},
      {"safe", Safe},
      {"escape", Escape},
      {"e", Escape},
      {"forceescape", ForceEscape},
      {"indent", Indent},
      {"format", FormatFilter},
      {"tojson", ToJsonFilter},
      {"from_json", FromJsonFilter},
      {"int", IntFilter},
      {"float", FloatFilter},
      {"abs", Abs},
      {"round", Round},
      {"length", LengthFilter},
      {"count", LengthFilter},
      {"default", Default},
      {"d", Default},
      {"center", Center},
      {"wordcount", WordCount},
      {"truncate", Truncate},
      {"urlencode", UrlEncode},
      {"attr", Attr},
  };
  const auto found = kFilters->find(name);
  return found == kFilters->end() ? nullptr : found->second;
}

}  // namespace bantam::chat
