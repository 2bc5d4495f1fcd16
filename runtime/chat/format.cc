#include "runtime/chat/format.h"

#include <algorithm>
#include <cctype>
#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "runtime/base/status.h"
#include "runtime/chat/interpreter.h"
#include "runtime/chat/print.h"
#include "runtime/chat/unicode.h"

namespace bantam::chat {
namespace {

constexpr int64_t kMaxWidth = 10'000;   // of one field
constexpr int64_t kMaxPrecision = 500;  // digits after the point

// How one value is to be written. The field of both notations, after parsing.
struct Spec {
  std::string fill = " ";
  char align = 0;  // '<' '>' '^' '=' or 0: the type's own
  char sign = '-';
  bool alternate = false;
  char grouping = 0;  // ',' or '_'
  int64_t width = 0;
  int64_t precision = -1;
  char type = 0;
};

absl::Status BadFormat(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("format: ", what));
}

std::string Pad(const std::string& text, const Spec& spec, char default_align) {
  const int64_t missing = spec.width - CharacterCount(text);
  if (missing <= 0) return text;
  const char align = spec.align != 0 ? spec.align : default_align;
  const int64_t left = align == '<' ? 0 : align == '^' ? missing / 2 : missing;
  std::string out;
  for (int64_t i = 0; i < left; ++i) out += spec.fill;
  out += text;
  for (int64_t i = left; i < missing; ++i) out += spec.fill;
  return out;
}

// A sign or prefix, the digits, and zeros or fill between them when the alignment is '='.
std::string PadNumber(const std::string& prefix, std::string digits, const Spec& spec) {
  if (spec.grouping != 0) {
    const size_t point = std::min(digits.find_first_not_of("0123456789"), digits.size());
    const int step =
        spec.type == 'x' || spec.type == 'X' || spec.type == 'b' || spec.type == 'o' ? 4 : 3;
    for (auto at = static_cast<int64_t>(point) - step; at > 0; at -= step) {
      digits.insert(at, 1, spec.grouping);
    }
  }
  if (spec.align != '=') return Pad(prefix + digits, spec, '>');
  Spec inner = spec;
  inner.align = '>';
  inner.width = spec.width - static_cast<int64_t>(prefix.size());
  return prefix + Pad(digits, inner, '>');
}

std::string SignOf(bool negative, char sign) {
  return negative ? "-" : sign == '+' ? "+" : sign == ' ' ? " " : "";
}

absl::StatusOr<std::string> FormatInteger(int64_t number, const Spec& spec) {
  const uint64_t magnitude =
      number < 0 ? 0 - static_cast<uint64_t>(number) : static_cast<uint64_t>(number);
  std::string prefix = SignOf(number < 0, spec.sign);
  std::string digits;
  switch (spec.type) {
    case 0:
    case 'd':
    case 'i':
    case 'u':
    case 'n':
      digits = absl::StrCat(magnitude);
      break;
    case 'x':
    case 'X':
      digits = absl::StrFormat(spec.type == 'x' ? "%x" : "%X", magnitude);
      if (spec.alternate) prefix += spec.type == 'x' ? "0x" : "0X";
      break;
    case 'o':
      digits = absl::StrFormat("%o", magnitude);
      if (spec.alternate) prefix += "0o";
      break;
    case 'b':
      for (uint64_t rest = magnitude; rest != 0 || digits.empty(); rest >>= 1) {
        digits.insert(digits.begin(), static_cast<char>('0' + (rest & 1)));
      }
      if (spec.alternate) prefix += "0b";
      break;
    default:
      return BadFormat(absl::StrCat("an int has no form '", std::string(1, spec.type), "'"));
  }
  return PadNumber(prefix, digits, spec);
}

std::string GeneralDigits(double magnitude, int64_t precision, bool alternate) {
  return alternate ? absl::StrFormat("%#.*g", static_cast<int>(precision), magnitude)
                   : absl::StrFormat("%.*g", static_cast<int>(precision), magnitude);
}

absl::StatusOr<std::string> FormatFloat(double number, const Spec& spec) {
  const std::string prefix = SignOf(std::signbit(number) && !std::isnan(number), spec.sign);
  const double magnitude = std::fabs(number);
  const char lower = static_cast<char>(std::tolower(spec.type));
  const int64_t precision = spec.precision < 0 ? 6 : spec.precision;
  std::string digits;
  if (!std::isfinite(number)) {
    digits = std::isnan(number) ? "nan" : "inf";
  } else if (spec.type == 0 && spec.precision < 0) {
    digits = ReprFloat(magnitude);
  } else if (lower == 'f' || lower == '%') {
    digits = absl::StrFormat("%.*f", static_cast<int>(precision),
                             lower == '%' ? magnitude * 100 : magnitude);
  } else if (lower == 'e') {
    digits = absl::StrFormat("%.*e", static_cast<int>(precision), magnitude);
  } else if (lower == 'g' || lower == 'n' || lower == 0) {
    digits = GeneralDigits(magnitude, std::max<int64_t>(precision, 1), spec.alternate);
    if (lower == 0 && digits.find_first_of(".e") == std::string::npos) digits += ".0";
  } else {
    return BadFormat(absl::StrCat("a float has no form '", std::string(1, spec.type), "'"));
  }
  if (lower == '%') digits += '%';
  if (std::isupper(static_cast<unsigned char>(spec.type)) != 0) digits = Upper(digits);
  return PadNumber(prefix, digits, spec);
}

absl::StatusOr<std::string> FormatText(const std::string& text, const Spec& spec) {
  std::string out = text;
  if (spec.precision >= 0 && CharacterCount(text) > spec.precision) {
    out = std::string(CharacterRange(text, 0, spec.precision));
  }
  return Pad(out, spec, '<');
}

// Digits at *at; -1 when there are none.
absl::StatusOr<int64_t> ReadNumber(absl::string_view text, size_t* at, int64_t limit) {
  int64_t number = -1;
  while (*at < text.size() && text[*at] >= '0' && text[*at] <= '9') {
    number = std::max<int64_t>(number, 0) * 10 + (text[(*at)++] - '0');
    if (number > limit) return BadFormat(absl::StrCat("a width or precision above ", limit));
  }
  return number;
}

absl::StatusOr<Spec> ParseBraceSpec(absl::string_view text) {
  Spec spec;
  size_t at = 0;
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '=' || c == '^'; };
  size_t after_fill = 0;
  if (!text.empty()) NextCharacter(text, &after_fill);
  if (after_fill > 0 && after_fill < text.size() && is_align(text[after_fill])) {
    spec.fill = std::string(text.substr(0, after_fill));
    spec.align = text[after_fill];
    at = after_fill + 1;
  } else if (!text.empty() && is_align(text[0])) {
    spec.align = text[at++];
  }
  const auto take = [&](absl::string_view of) {
    return at < text.size() && absl::StrContains(of, text[at]) ? text[at++] : '\0';
  };
  if (const char sign = take("+- "); sign != 0) spec.sign = sign;
  spec.alternate = take("#") != 0;
  if (take("0") != 0 && spec.align == 0) {
    spec.fill = "0";
    spec.align = '=';
  }
  BANTAM_ASSIGN_OR_RETURN(const int64_t width, ReadNumber(text, &at, kMaxWidth));
  spec.width = std::max<int64_t>(width, 0);
  spec.grouping = take(",_");
  if (take(".") != 0) {
    BANTAM_ASSIGN_OR_RETURN(spec.precision, ReadNumber(text, &at, kMaxPrecision));
    if (spec.precision < 0) return BadFormat("a '.' without digits");
  }
  if (at < text.size()) spec.type = text[at++];
  if (at != text.size()) return BadFormat(absl::StrCat("bad field '", text, "'"));
  return spec;
}

absl::StatusOr<std::string> FormatValue(Heap& heap, const Value& value, absl::string_view text) {
  if (text.empty()) return Str(heap, value);
  BANTAM_ASSIGN_OR_RETURN(Spec spec, ParseBraceSpec(text));
  const bool as_float = absl::StrContains("eEfFgG%", spec.type) && spec.type != 0;
  if (value.IsInteger() && !as_float) {
    if (spec.precision >= 0) return BadFormat("a precision for an int");
    if (spec.type == 'c') {
      if (value.integer() < 0 || value.integer() > 0x10FFFF) return BadFormat("no such character");
      std::string character;
      AppendUtf8(static_cast<char32_t>(value.integer()), &character);
      return Pad(character, spec, '<');
    }
    return FormatInteger(value.integer(), spec);
  }
  if (value.IsNumber()) return FormatFloat(value.number(), spec);
  if (!value.IsString()) {
    return BadFormat(absl::StrCat("a ", TypeName(value), " takes no format field"));
  }
  if ((spec.type != 0 && spec.type != 's') || spec.align == '=') {
    return BadFormat(absl::StrCat("a str does not take '", text, "'"));
  }
  return FormatText(value.text(), spec);
}

absl::Status CheckSize(const std::string& out) {
  if (static_cast<int64_t>(out.size()) <= Limits::kOutputBytes) return absl::OkStatus();
  return absl::ResourceExhaustedError("a formatted text is too long");
}

// The value a percent field takes and how it is written.
absl::StatusOr<std::string> FormatPercentField(Heap& heap, const Value& value, Spec spec,
                                               bool escape) {
  switch (spec.type) {
    case 's':
    case 'r':
    case 'a': {
      BANTAM_ASSIGN_OR_RETURN(std::string text,
                              spec.type == 's' ? Str(heap, value) : Repr(heap, value));
      if (escape && !(spec.type == 's' && value.markup())) text = EscapeHtml(text);
      if (spec.align == '=') {
        spec.align = 0;
        spec.fill = " ";
      }
      if (spec.align == 0) spec.align = '>';
      return FormatText(text, spec);
    }
    case 'c': {
      std::string text;
      if (value.IsString() && CharacterCount(value.text()) == 1) {
        text = value.text();
      } else if (value.IsInteger() && value.integer() >= 0 && value.integer() <= 0x10FFFF) {
        AppendUtf8(static_cast<char32_t>(value.integer()), &text);
      } else {
        return BadFormat("%c takes one character");
      }
      return Pad(text, spec, '>');
    }
    case 'd':
    case 'i':
    case 'u':
    case 'x':
    case 'X':
    case 'o': {
      if (value.IsUndefined()) return absl::InvalidArgumentError(value.text());
      int64_t number = 0;
      if (value.IsInteger()) {
        number = value.integer();
      } else if (value.Is(Kind::kFloat) && std::fabs(value.number()) < 9e18 &&
                 (spec.type == 'd' || spec.type == 'i' || spec.type == 'u')) {
        number = static_cast<int64_t>(value.number());
      } else {
        return BadFormat(absl::StrCat("%", std::string(1, spec.type), " takes a number, not a ",
                                      TypeName(value)));
      }
      if (spec.precision > 0) {
        const auto digits = static_cast<int64_t>(absl::StrCat(number).size()) - (number < 0);
        if (digits < spec.precision) return BadFormat("a precision for an int is not supported");
      }
      return FormatInteger(number, spec);
    }
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
      if (value.IsUndefined()) return absl::InvalidArgumentError(value.text());
      if (!value.IsNumber()) {
        return BadFormat(absl::StrCat("%", std::string(1, spec.type), " takes a number, not a ",
                                      TypeName(value)));
      }
      return FormatFloat(value.number(), spec);
    default:
      return BadFormat(absl::StrCat("unknown conversion '%", std::string(1, spec.type), "'"));
  }
}

}  // namespace

absl::StatusOr<std::string> FormatPercent(Heap& heap, const Value& format, const Value& values) {
  const std::string& text = format.text();
  const std::vector<Value> single = {values};
  const std::vector<Value>& items = values.Is(Kind::kTuple) ? values.sequence()->items : single;
  size_t used = 0;
  bool named = false;
  const auto next = [&]() -> absl::StatusOr<Value> {
    if (used >= items.size()) return BadFormat("not enough arguments for the format string");
    return items[used++];
  };
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t percent = std::min(text.find('%', at), text.size());
    out.append(text, at, percent - at);
    at = percent + 1;
    if (percent == text.size()) break;
    if (at < text.size() && text[at] == '%') {
      out += text[at++];
      continue;
    }
    Spec spec;
    absl::StatusOr<Value> value = Value();
    bool has_value = false;
    if (at < text.size() && text[at] == '(') {
      const size_t close = text.find(')', at);
      if (close == std::string::npos) return BadFormat("a '%(' without ')'");
      if (!values.Is(Kind::kDict)) return BadFormat("%(name) needs a dict");
      const std::string name = text.substr(at + 1, close - at - 1);
      const Value* found = values.dict()->FindString(name);
      if (found == nullptr) return BadFormat(absl::StrCat("no value named '", name, "'"));
      value = *found;
      has_value = named = true;
      at = close + 1;
    }
    for (; at < text.size() && absl::StrContains("-+ #0", text[at]); ++at) {
      if (text[at] == '-') spec.align = '<';
      if (text[at] == '+' || (text[at] == ' ' && spec.sign != '+')) spec.sign = text[at];
      if (text[at] == '#') spec.alternate = true;
      if (text[at] == '0' && spec.align == 0) {
        spec.fill = "0";
        spec.align = '=';
      }
    }
    if (spec.align == '<') spec.fill = " ";
    const auto size_field = [&](int64_t limit) -> absl::StatusOr<int64_t> {
      if (at >= text.size() || text[at] != '*') return ReadNumber(text, &at, limit);
      ++at;
      BANTAM_ASSIGN_OR_RETURN(const Value star, next());
      if (!star.IsInteger() || star.integer() < 0 || star.integer() > limit) {
        return BadFormat("* needs a small int");
      }
      return star.integer();
    };
    BANTAM_ASSIGN_OR_RETURN(spec.width, size_field(kMaxWidth));
    spec.width = std::max<int64_t>(spec.width, 0);
    if (at < text.size() && text[at] == '.') {
      ++at;
      BANTAM_ASSIGN_OR_RETURN(spec.precision, size_field(kMaxPrecision));
      spec.precision = std::max<int64_t>(spec.precision, 0);
    }
    while (at < text.size() && absl::StrContains("hlL", text[at])) ++at;
    if (at >= text.size()) return BadFormat("an incomplete field");
    spec.type = text[at++];
    if (!has_value) value = next();
    if (!value.ok()) return value.status();
    BANTAM_ASSIGN_OR_RETURN(const std::string field,
                            FormatPercentField(heap, *value, spec, format.markup()));
    out += field;
    BANTAM_RETURN_IF_ERROR(CheckSize(out));
    BANTAM_RETURN_IF_ERROR(heap.Step());
  }
  if (!named && used < items.size() && !values.Is(Kind::kDict)) {
    return BadFormat("not all arguments are used by the format string");
  }
  return out;
}

absl::StatusOr<std::string> FormatBraces(Interpreter& interpreter, const Value& format,
                                         const Arguments& arguments) {
  Heap& heap = interpreter.heap();
  const absl::string_view text = format.text();
  size_t next = 0;
  std::string out;
  for (size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (c != '{' && c != '}') {
      out += c;
      continue;
    }
    if (at + 1 < text.size() && text[at + 1] == c) {
      out += c;
      ++at;
      continue;
    }
    if (c == '}') return BadFormat("a single '}'");
    const size_t close = text.find('}', at);
    if (close == absl::string_view::npos) return BadFormat("a '{' without '}'");
    absl::string_view field = text.substr(at + 1, close - at - 1);
    if (absl::StrContains(field, '{')) {
      return absl::UnimplementedError("a format field within a format field is not supported");
    }
    at = close;
    absl::string_view spec;
    char conversion = 0;
    if (const size_t colon = field.find(':'); colon != absl::string_view::npos) {
      spec = field.substr(colon + 1);
      field = field.substr(0, colon);
    }
    if (const size_t mark = field.find('!'); mark != absl::string_view::npos) {
      if (mark + 2 != field.size() || !absl::StrContains("rsa", field[mark + 1])) {
        return BadFormat("after '!' comes r, s or a");
      }
      conversion = field[mark + 1];
      field = field.substr(0, mark);
    }
    // A number or a name, then .attribute and [item].
    const size_t end = std::min(field.find_first_of(".["), field.size());
    const absl::string_view first = field.substr(0, end);
    Value value;
    int64_t index = 0;
    if (first.empty() || absl::SimpleAtoi(first, &index)) {
      index = first.empty() ? static_cast<int64_t>(next++) : index;
      if (index < 0 || index >= static_cast<int64_t>(arguments.positional.size())) {
        return BadFormat(absl::StrCat("there is no argument ", index));
      }
      value = arguments.positional[index];
    } else {
      const auto found = std::find_if(arguments.keyword.begin(), arguments.keyword.end(),
                                      [&](const auto& entry) { return entry.first == first; });
      if (found == arguments.keyword.end()) {
        return BadFormat(absl::StrCat("there is no argument '", first, "'"));
      }
      value = found->second;
    }
    for (field = field.substr(end); !field.empty();) {
      if (field[0] == '.') {
        const size_t stop = std::min(field.find_first_of(".[", 1), field.size());
        BANTAM_ASSIGN_OR_RETURN(
            value, interpreter.Attribute(value, std::string(field.substr(1, stop - 1))));
        field = field.substr(stop);
      } else {
        const size_t stop = field.find(']');
        if (stop == absl::string_view::npos) return BadFormat("a '[' without ']'");
        const absl::string_view key = field.substr(1, stop - 1);
        BANTAM_ASSIGN_OR_RETURN(value,
                                interpreter.Item(value, absl::SimpleAtoi(key, &index)
                                                            ? Value::Int(index)
                                                            : Value::Constant(std::string(key))));
        field = field.substr(stop + 1);
      }
    }
    if (conversion != 0) {
      BANTAM_ASSIGN_OR_RETURN(std::string converted,
                              conversion == 's' ? Str(heap, value) : Repr(heap, value));
      value = Value::Constant(std::move(converted));
    }
    BANTAM_ASSIGN_OR_RETURN(std::string written, FormatValue(heap, value, spec));
    if (format.markup() && !value.markup()) written = EscapeHtml(written);
    out += written;
    BANTAM_RETURN_IF_ERROR(CheckSize(out));
    BANTAM_RETURN_IF_ERROR(heap.Step());
  }
  return out;
}

}  // namespace bantam::chat
