#include "runtime/grammar/json_strings.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "runtime/base/printable.h"
#include "runtime/base/status.h"

namespace bantam::grammar {
namespace {

constexpr int kMaxDepth = 80;
constexpr int64_t kMaxRepetition = 10000;

using Ranges = std::vector<CharRange>;

const Ranges& DigitRanges() {
  static const auto* const r = new Ranges{{'0', '9'}};
  return *r;
}
const Ranges& WordRanges() {
  static const auto* const r = new Ranges{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
  return *r;
}
const Ranges& SpaceRanges() {  // ECMA-262: white space and line ends
  static const auto* const r = new Ranges{
      {9, 13},          {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
      {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
  return *r;
}

class Pattern {
 public:
  explicit Pattern(absl::string_view text) : text_(text), rest_(text) {}

  absl::StatusOr<std::string> Convert() {
    // ^ and $ are understood around the whole, or around each alternative of it.
    std::vector<std::string> branches;
    do {
      const bool from_start = absl::ConsumePrefix(&rest_, "^");
      BANTAM_ASSIGN_OR_RETURN(std::string branch, Sequence(0));
      const bool to_end = absl::ConsumePrefix(&rest_, "$");
      if (!rest_.empty() && rest_.front() != '|') {
        if (rest_.front() == ')') return Invalid("a ) without its (");
        return Unsupported(to_end ? "$ before the end" : "^ after the start");
      }
      const std::string any = absl::StrCat(JsonCharacter(Complement({})), "*");
      branches.push_back(absl::StrCat(from_start ? "" : absl::StrCat(any, " "), branch,
                                      to_end ? "" : absl::StrCat(" ", any)));
    } while (absl::ConsumePrefix(&rest_, "|"));
    return absl::StrCat("(", absl::StrJoin(branches, " | "), ")");
  }

 private:
  absl::Status Unsupported(absl::string_view what) const {
    return absl::UnimplementedError(
        absl::StrCat("pattern '", Printable(text_), "': ", what, " is not supported"));
  }
  absl::Status Invalid(absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat("pattern '", Printable(text_), "': ", what));
  }

  absl::StatusOr<std::string> Choice(int depth) {
    std::vector<std::string> branches;
    do {
      BANTAM_ASSIGN_OR_RETURN(std::string branch, Sequence(depth));
      branches.push_back(std::move(branch));
    } while (absl::ConsumePrefix(&rest_, "|"));
    return absl::StrCat("(", absl::StrJoin(branches, " | "), ")");
  }

  absl::StatusOr<std::string> Sequence(int depth) {
    if (depth > kMaxDepth) return Invalid("groups are nested too deeply");
    std::vector<std::string> items;
    while (!rest_.empty() && rest_.front() != '|' && rest_.front() != ')' && rest_.front() != '$' &&
           rest_.front() != '^') {
      BANTAM_ASSIGN_OR_RETURN(std::string item, Atom(depth));
      BANTAM_ASSIGN_OR_RETURN(const std::string repeat, Quantifier());
      items.push_back(repeat.empty() ? item : absl::StrCat("(", item, ")", repeat));
    }
    if (depth > 0 && !rest_.empty() && (rest_.front() == '$' || rest_.front() == '^')) {
      return Unsupported(absl::StrCat(rest_.substr(0, 1), " within a group"));
    }
    return items.empty() ? "\"\"" : absl::StrJoin(items, " ");
  }

  absl::StatusOr<std::string> Atom(int depth) {
    if (absl::ConsumePrefix(&rest_, "(")) {
      if (!absl::ConsumePrefix(&rest_, "?:")) {
        if (absl::ConsumePrefix(&rest_, "?<") && !rest_.empty() && rest_[0] != '=' &&
            rest_[0] != '!') {
          const size_t end = rest_.find('>');
          if (end == rest_.npos) return Invalid("a group's name without its end");
          rest_.remove_prefix(end + 1);
        } else if (!rest_.empty() && (rest_[0] == '?' || rest_[0] == '=' || rest_[0] == '!')) {
          return Unsupported("look-around");
        }
      }
      BANTAM_ASSIGN_OR_RETURN(std::string group, Choice(depth + 1));
      if (!absl::ConsumePrefix(&rest_, ")")) return Invalid("a ( without its )");
      return group;
    }
    if (absl::ConsumePrefix(&rest_, ".")) {
      return JsonCharacter(Complement({{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}));
    }
    if (absl::ConsumePrefix(&rest_, "[")) return Class();
    if (rest_.front() == '*' || rest_.front() == '+' || rest_.front() == '?') {
      return Invalid(absl::StrCat("nothing before ", rest_.substr(0, 1), " to repeat"));
    }
    Ranges one;
    BANTAM_RETURN_IF_ERROR(Character(one));
    return JsonCharacter(one);
  }

  // After "[".
  absl::StatusOr<std::string> Class() {
    const bool negated = absl::ConsumePrefix(&rest_, "^");
    Ranges all;
    while (!absl::ConsumePrefix(&rest_, "]")) {
      Ranges item;
      BANTAM_RETURN_IF_ERROR(Character(item, /*in_class=*/true));
      if (rest_.size() > 1 && rest_[0] == '-' && rest_[1] != ']') {
        rest_.remove_prefix(1);
        Ranges end;
        BANTAM_RETURN_IF_ERROR(Character(end, true));
        auto single = [](const Ranges& r) { return r.size() == 1 && r[0].first == r[0].last; };
        if (!single(item) || !single(end) || end[0].first < item[0].first) {
          return Invalid("a range of characters without a start before its end");
        }
        item[0].last = end[0].last;
      }
      all.insert(all.end(), item.begin(), item.end());
    }
    all = NormalizeRanges(std::move(all));
    if (negated) all = Complement(all);
    if (all.empty()) return Invalid("a class that no character is in");
    return JsonCharacter(all);
  }

  // A character, or a class written as an escape.
  absl::Status Character(Ranges& into, bool in_class = false) {
    if (rest_.empty()) return Invalid("it ends within a class");
    if (rest_.front() != '\\') {
      auto c = TakeCharacter(rest_);
      if (!c.ok()) return Invalid(c.status().message());
      into = {{*c, *c}};
      return absl::OkStatus();
    }
    rest_.remove_prefix(1);
    if (rest_.empty()) return Invalid("it ends with a backslash");
    const char c = rest_.front();
    rest_.remove_prefix(1);
    auto one = [&](char32_t code) {
      into = {{code, code}};
      return absl::OkStatus();
    };
    switch (c) {
      case 'd':
        into = DigitRanges();
        return absl::OkStatus();
      case 'D':
        into = Complement(DigitRanges());
        return absl::OkStatus();
      case 'w':
        into = WordRanges();
        return absl::OkStatus();
      case 'W':
        into = Complement(WordRanges());
        return absl::OkStatus();
      case 's':
        into = SpaceRanges();
        return absl::OkStatus();
      case 'S':
        into = Complement(SpaceRanges());
        return absl::OkStatus();
      case 'n':
        return one('\n');
      case 'r':
        return one('\r');
      case 't':
        return one('\t');
      case 'f':
        return one('\f');
      case 'v':
        return one('\v');
      case '0':
        return one(0);
      case 'x':
        return Hex(2, into);
      case 'u':
        return Hex(4, into);
      case 'b':
        if (in_class) return one('\b');
        break;
      default:
        if (!absl::ascii_isalnum(c) && static_cast<unsigned char>(c) < 0x80) return one(c);
    }
    return Unsupported(absl::StrCat("\\", Printable(std::string(1, c))));
  }

  absl::Status Hex(size_t digits, Ranges& into) {
    uint32_t code = 0;
    if (rest_.size() < digits || !absl::SimpleHexAtoi(rest_.substr(0, digits), &code) ||
        !absl::ascii_isxdigit(rest_[0])) {
      return Invalid(absl::StrCat("an escape without its ", digits, " hexadecimal digits"));
    }
    if (code >= 0xD800 && code <= 0xDFFF) return Unsupported("half of a surrogate pair");
    rest_.remove_prefix(digits);
    into = {{code, code}};
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> Quantifier() {
    std::string repeat;
    if (rest_.empty()) return repeat;
    if (rest_.front() == '*' || rest_.front() == '+' || rest_.front() == '?') {
      repeat = std::string(rest_.substr(0, 1));
      rest_.remove_prefix(1);
    } else if (rest_.front() == '{') {
      const size_t end = rest_.find('}');
      if (end == rest_.npos) return Invalid("a { without its }");
      const absl::string_view inside = rest_.substr(1, end - 1);
      const size_t comma = std::min(inside.find(','), inside.size());
      int64_t least = 0, most = 0;
      if (!absl::SimpleAtoi(inside.substr(0, comma), &least) || least < 0) {
        return Invalid("a repetition without its number");
      }
      most = least;
      const bool open = comma + 1 == inside.size();
      if (comma < inside.size() && !open &&
          (!absl::SimpleAtoi(inside.substr(comma + 1), &most) || most < least)) {
        return Invalid("a repetition without its most");
      }
      if (least > kMaxRepetition || most > kMaxRepetition) {
        return Unsupported(absl::StrCat("a repetition of more than ", kMaxRepetition));
      }
      repeat = open ? absl::StrCat("{", least, ",}") : absl::StrCat("{", least, ",", most, "}");
      rest_.remove_prefix(end + 1);
    } else {
      return repeat;
    }
    absl::ConsumePrefix(&rest_, "?");  // lazy: the same texts
    return repeat;
  }

  const absl::string_view text_;
  absl::string_view rest_;
};

}  // namespace

std::string JsonCharacter(const std::vector<CharRange>& ranges) {
  std::vector<std::string> options;
  std::string raw;
  auto add_raw = [&raw](char32_t first, char32_t last) {
    absl::StrAppendFormat(&raw, "\\U%08x-\\U%08x", static_cast<uint32_t>(first),
                          static_cast<uint32_t>(last));
  };
  for (const CharRange& range : ranges) {
    for (char32_t c = range.first; c <= range.last;) {
      if (c < 0x20) {
        const char* const kShort[] = {"\\b", "\\t", "\\n", nullptr, "\\f", "\\r"};
        const bool has_short = c >= 8 && c <= 13 && kShort[c - 8] != nullptr;
        options.push_back(GbnfLiteral(has_short
                                          ? std::string(kShort[c - 8])
                                          : absl::StrFormat("\\u%04x", static_cast<uint32_t>(c))));
        ++c;
      } else if (c == '"' || c == '\\') {
        options.push_back(GbnfLiteral(std::string{'\\', static_cast<char>(c)}));
        ++c;
      } else {
        char32_t last = range.last;
        for (const char32_t special : {U'"', U'\\'}) {
          if (special > c && special <= last) last = std::min<char32_t>(last, special - 1);
        }
        add_raw(c, last);
        c = last + 1;
      }
    }
  }
  if (!raw.empty()) options.insert(options.begin(), absl::StrCat("[", raw, "]"));
  return options.size() == 1 ? options[0] : absl::StrCat("(", absl::StrJoin(options, " | "), ")");
}

absl::StatusOr<std::string> PatternToGbnf(absl::string_view pattern) {
  return Pattern(pattern).Convert();
}

std::string FormatToGbnf(absl::string_view format) {
  // RFC 3339. A year divisible by 4 and, if by 100, by 400 has a 29th of February.
  const std::string leap =
      R"(([0-9] [0-9] ("0" [48] | [2468] [048] | [13579] [26]) | ([02468] [048] | [13579] [26]) "00"))";
  const std::string date = absl::StrCat(
      R"(([0-9]{4} "-" (("01" | "03" | "05" | "07" | "08" | "10" | "12") "-" )",
      R"(("0" [1-9] | [12] [0-9] | "3" [01]) | ("04" | "06" | "09" | "11") "-" )",
      R"(("0" [1-9] | [12] [0-9] | "30") | "02-" ("0" [1-9] | "1" [0-9] | "2" [0-8])) | )", leap,
      R"( "-02-29"))");
  const std::string hour_minute = R"(([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9])";
  const std::string time = absl::StrCat("(", hour_minute, R"( ":" [0-5] [0-9] ("." [0-9]{1,9})? )",
                                        R"(("Z" | [+-] )", hour_minute, "))");
  if (format == "date") return date;
  if (format == "time") return time;
  if (format == "date-time") return absl::StrCat("(", date, " \"T\" ", time, ")");
  if (format == "uuid") {
    const std::string hex = "[0-9a-f]";
    return absl::StrCat("(", hex, "{8} \"-\" ", hex, "{4} \"-\" ", hex, "{4} \"-\" ", hex,
                        "{4} \"-\" ", hex, "{12})");
  }
  return "";
}

std::string GbnfLiteral(absl::string_view text) {
  std::string literal = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') literal += '\\';
    if (c == '\n') {
      literal += "\\n";
    } else if (c == '\r') {
      literal += "\\r";
    } else {
      literal += c;
    }
  }
  return literal + "\"";
}

}  // namespace bantam::grammar
