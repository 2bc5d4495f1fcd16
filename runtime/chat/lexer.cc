#include "runtime/chat/lexer.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/chat/unicode.h"

namespace bantam::chat {
namespace {

// Every line break becomes \n; one at the very end is dropped.
std::string NormalizeLines(absl::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

class Lexer {
 public:
  explicit Lexer(absl::string_view source) : source_(source) {}

  absl::StatusOr<std::vector<Token>> Run() {
    while (pos_ < source_.size()) BANTAM_RETURN_IF_ERROR(Root());
    Add(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  absl::Status Error(absl::string_view what, int line) const {
    return absl::InvalidArgumentError(absl::StrCat("line ", line, ": ", what));
  }
  absl::Status Error(absl::string_view what) const { return Error(what, line_); }

  absl::string_view Rest() const { return source_.substr(pos_); }

  void Add(TokenKind kind, absl::string_view text) {
    tokens_.push_back({.kind = kind, .line = line_, .text = std::string(text)});
  }
  void Advance(size_t count) {
    const absl::string_view passed = source_.substr(pos_, count);
    line_ += static_cast<int>(std::count(passed.begin(), passed.end(), '\n'));
    pos_ += passed.size();
  }
  void SkipSpaces() { Advance(Rest().size() - StripLeft(Rest()).size()); }

  // The end of a tag is at the cursor: passes it and the white space its sign asks to strip.
  // `close` is "%}", "}}" or "#}". False when it is not there.
  bool PassEnd(absl::string_view close, bool trim_newline) {
    const absl::string_view rest = Rest();
    if (absl::StartsWith(rest, absl::StrCat("-", close))) {
      Advance(1 + close.size());
      SkipSpaces();
    } else if (absl::StartsWith(rest, close)) {
      Advance(close.size());
      if (trim_newline && absl::StartsWith(Rest(), "\n")) Advance(1);
    } else if (close != "}}" && absl::StartsWith(rest, absl::StrCat("+", close))) {
      Advance(1 + close.size());
    } else {
      return false;
    }
    return true;
  }

  // The text before a tag, stripped as the sign of the tag ('-', '+' or 0) and lstrip_blocks ask.
  static absl::string_view StripBefore(absl::string_view data, char sign, bool strip_blocks,
                                       bool at_line_start) {
    if (sign == '-') return StripRight(data);
    if (sign == '+' || !strip_blocks) return data;
    const size_t newline = data.rfind('\n');
    const size_t line = newline == absl::string_view::npos ? 0 : newline + 1;
    if (line == 0 && !at_line_start) return data;
    return StripLeft(data.substr(line)).empty() ? data.substr(0, line) : data;
  }

  void AddData(absl::string_view data, absl::string_view kept) {
    if (!kept.empty()) Add(TokenKind::kData, kept);
    Advance(data.size());
  }

  absl::Status Root() {
    const bool at_line_start = pos_ == 0 || source_[pos_ - 1] == '\n';
    size_t at = pos_;
    for (;; ++at) {
      at = source_.find('{', at);
      if (at == absl::string_view::npos || at + 1 >= source_.size()) {
        AddData(Rest(), Rest());
        return absl::OkStatus();
      }
      const char second = source_[at + 1];
      if (second == '%' || second == '{' || second == '#') break;
    }
    const char kind = source_[at + 1];
    const char after = at + 2 < source_.size() ? source_[at + 2] : '\0';
    const char sign = after == '-' || after == '+' ? after : '\0';
    const absl::string_view data = source_.substr(pos_, at - pos_);
    AddData(data, StripBefore(data, sign, kind != '{', at_line_start));
    const int line = line_;
    if (kind == '#') {
      const size_t body = pos_ + (sign != '\0' ? 3 : 2);
      const size_t close = source_.find("#}", body);
      if (close == absl::string_view::npos) return Error("the comment has no end (#})", line);
      // The sign may be the last character of the comment.
      size_t end = close;
      if (end > body && (source_[end - 1] == '-' || source_[end - 1] == '+')) --end;
      Advance(end - pos_);
      PassEnd("#}", true);
      return absl::OkStatus();
    }
    if (kind == '%') {
      BANTAM_ASSIGN_OR_RETURN(const bool raw, Raw(sign));
      if (raw) return absl::OkStatus();
    }
    Add(kind == '%' ? TokenKind::kBlockBegin : TokenKind::kVariableBegin, "");
    Advance(sign != '\0' ? 3 : 2);
    return Tag(kind, line);
  }

  // `{% raw %} ... {% endraw %}` as text. False when the tag at the cursor is another.
  absl::StatusOr<bool> Raw(char sign) {
    const size_t begin = pos_;
    const int begin_line = line_;
    Advance(sign != '\0' ? 3 : 2);
    SkipSpaces();
    if (absl::StartsWith(Rest(), "raw")) {
      Advance(3);
      SkipSpaces();
      if (absl::StartsWith(Rest(), "%}") || absl::StartsWith(Rest(), "-%}")) {
        PassEnd("%}", false);
        BANTAM_RETURN_IF_ERROR(RawBody(begin_line));
        return true;
      }
    }
    pos_ = begin;
    line_ = begin_line;
    return false;
  }

  absl::Status RawBody(int begin_line) {
    const bool at_line_start = source_[pos_ - 1] == '\n';
    const size_t data_at = pos_;
    const int data_line = line_;
    for (size_t at = source_.find("{%", pos_); at != absl::string_view::npos;
         at = source_.find("{%", at + 2)) {
      Advance(at + 2 - pos_);
      const char sign = Rest().empty() ? '\0' : Rest()[0];
      if (sign == '-' || sign == '+') Advance(1);
      SkipSpaces();
      if (!absl::StartsWith(Rest(), "endraw")) continue;
      Advance(6);
      SkipSpaces();
      if (!PassEnd("%}", true)) continue;
      const absl::string_view kept =
          StripBefore(source_.substr(data_at, at - data_at), sign, true, at_line_start);
      tokens_.push_back({.kind = TokenKind::kData, .line = data_line, .text = std::string(kept)});
      return absl::OkStatus();
    }
    return Error("{% raw %} has no {% endraw %}", begin_line);
  }

  absl::Status Tag(char kind, int begin_line) {
    std::string open;  // brackets not closed yet; within them %} and }} do not end the tag
    const absl::string_view close = kind == '%' ? "%}" : "}}";
    while (true) {
      SkipSpaces();
      if (pos_ >= source_.size()) {
        return Error(absl::StrCat("the tag has no end (", close, ")"), begin_line);
      }
      if (open.empty()) {
        const int line = line_;
        if (PassEnd(close, kind == '%')) {
          tokens_.push_back(
              {.kind = kind == '%' ? TokenKind::kBlockEnd : TokenKind::kVariableEnd, .line = line});
          return absl::OkStatus();
        }
      }
      const char c = source_[pos_];
      if (c == '"' || c == '\'') {
        BANTAM_RETURN_IF_ERROR(StringToken());
      } else if (IsDigit(c)) {
        BANTAM_RETURN_IF_ERROR(Number());
      } else {
        size_t end = pos_;
        while (end < source_.size()) {
          size_t next = end;
          if (!IsWord(NextCharacter(source_, &next))) break;
          end = next;
        }
        if (end > pos_) {
          Add(TokenKind::kName, source_.substr(pos_, end - pos_));
          Advance(end - pos_);
        } else {
          BANTAM_RETURN_IF_ERROR(Operator(&open));
        }
      }
    }
  }

  absl::Status Operator(std::string* open) {
    constexpr absl::string_view kTwo[] = {"//", "**", "==", "!=", ">=", "<="};
    constexpr absl::string_view kOne = "+-/*%~[](){}><=.:|,;";
    for (const absl::string_view text : kTwo) {
      if (!absl::StartsWith(Rest(), text)) continue;
      Add(TokenKind::kOperator, text);
      Advance(2);
      return absl::OkStatus();
    }
    const char c = source_[pos_];
    if (!absl::StrContains(kOne, c)) {
      size_t next = pos_;
      NextCharacter(source_, &next);
      return Error(absl::StrCat("unexpected character '", source_.substr(pos_, next - pos_), "'"));
    }
    if (c == '(' || c == '[' || c == '{') open->push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
    if (c == ')' || c == ']' || c == '}') {
      if (open->empty()) return Error(absl::StrCat("unexpected '", absl::string_view(&c, 1), "'"));
      if (open->back() != c) {
        return Error(absl::StrCat("unexpected '", absl::string_view(&c, 1), "', expected '",
                                  absl::string_view(&open->back(), 1), "'"));
      }
      open->pop_back();
    }
    Add(TokenKind::kOperator, source_.substr(pos_, 1));
    Advance(1);
    return absl::OkStatus();
  }

  // Digits with single underscores between them, from `at`; `at` itself when there are none.
  template <typename Accept>
  size_t Digits(size_t at, Accept accept) const {
    size_t end = at;
    while (end < source_.size()) {
      if (accept(source_[end])) {
        ++end;
      } else if (source_[end] == '_' && end > at && source_[end - 1] != '_' &&
                 end + 1 < source_.size() && accept(source_[end + 1])) {
        ++end;
      } else {
        break;
      }
    }
    return end;
  }

  absl::Status Number() {
    const auto is_hex = [](char c) {
      return IsDigit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    };
    if (source_[pos_] == '0' && pos_ + 1 < source_.size()) {
      const char letter = source_[pos_ + 1] | 0x20;
      const int base = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
      size_t end = pos_ + 2;
      if (base == 16) end = Digits(end, is_hex);
      if (base == 8) end = Digits(end, [](char c) { return c >= '0' && c <= '7'; });
      if (base == 2) end = Digits(end, [](char c) { return c == '0' || c == '1'; });
      if (base != 0 && end > pos_ + 2) {
        uint64_t number = 0;
        for (const char c : source_.substr(pos_ + 2, end - pos_ - 2)) {
          if (c == '_') continue;
          const int digit = IsDigit(c) ? c - '0' : (c | 0x20) - 'a' + 10;
          if (number >> 58 != 0) return Error("the integer needs more than 64 bits");
          number = number * base + digit;
        }
        Add(TokenKind::kInteger, absl::StrCat(number));
        Advance(end - pos_);
        return absl::OkStatus();
      }
    }
    const size_t whole = Digits(pos_, IsDigit);
    size_t end = whole;
    // A dot right before makes these digits an index (x.0.1), not the start of a float.
    const bool may_be_float = pos_ == 0 || source_[pos_ - 1] != '.';
    if (may_be_float && end < source_.size() && source_[end] == '.') {
      const size_t fraction = Digits(end + 1, IsDigit);
      if (fraction > end + 1) end = fraction;
    }
    if (may_be_float && end < source_.size() && (source_[end] | 0x20) == 'e') {
      size_t exponent = end + 1;
      if (exponent < source_.size() && (source_[exponent] == '+' || source_[exponent] == '-')) {
        ++exponent;
      }
      const size_t last = Digits(exponent, IsDigit);
      if (last > exponent) end = last;
    }
    std::string text(source_.substr(pos_, end - pos_));
    text.erase(std::remove(text.begin(), text.end(), '_'), text.end());
    if (end == whole && text[0] == '0') {  // 012 reads as 0 and 12
      end = Digits(pos_, [](char c) { return c == '0'; });
      text.assign(1, '0');
    }
    if (end == whole || text == "0") {
      int64_t number = 0;
      if (!absl::SimpleAtoi(text, &number)) return Error("the integer needs more than 64 bits");
    }
    Add(end == whole || text == "0" ? TokenKind::kInteger : TokenKind::kFloat, text);
    Advance(end - pos_);
    return absl::OkStatus();
  }

  absl::Status StringToken() {
    const char quote = source_[pos_];
    size_t end = pos_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) return Error("the string has no end");
    std::string text;
    for (size_t at = pos_ + 1; at < end;) {
      if (source_[at] != '\\') {
        text += source_[at++];
        continue;
      }
      BANTAM_RETURN_IF_ERROR(Escape(end, &at, &text));
    }
    Add(TokenKind::kString, text);
    Advance(end + 1 - pos_);
    return absl::OkStatus();
  }

  // One escape of Python's string literals, from the backslash at *at.
  absl::Status Escape(size_t end, size_t* at, std::string* text) const {
    constexpr absl::string_view kFrom = "\\'\"abfnrtv";
    constexpr absl::string_view kTo = "\\'\"\a\b\f\n\r\t\v";
    const char c = source_[*at + 1];
    if (c == '\n') {
      *at += 2;
    } else if (const size_t simple = kFrom.find(c); simple != absl::string_view::npos) {
      *text += kTo[simple];
      *at += 2;
    } else if (c == 'x' || c == 'u' || c == 'U') {
      const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      const absl::string_view hex = source_.substr(*at + 2, std::min(digits, end - *at - 2));
      uint32_t number = 0;
      if (hex.size() != digits || !absl::SimpleHexAtoi(hex, &number) ||
          hex.find_first_not_of("0123456789abcdefABCDEF") != absl::string_view::npos ||
          number > 0x10FFFF || (number >= 0xD800 && number <= 0xDFFF)) {
        return Error(absl::StrCat("bad escape \\", absl::string_view(&c, 1), hex, " in a string"));
      }
      AppendUtf8(number, text);
      *at += 2 + digits;
    } else if (c >= '0' && c <= '7') {
      uint32_t number = 0;
      size_t last = *at + 1;
      for (; last < end && last < *at + 4 && source_[last] >= '0' && source_[last] <= '7'; ++last) {
        number = number * 8 + (source_[last] - '0');
      }
      AppendUtf8(number, text);
      *at = last;
    } else if (c == 'N') {
      return absl::UnimplementedError(
          absl::StrCat("line ", line_, ": the escape \\N{name} in a string is not supported"));
    } else {
      *text += '\\';  // not an escape: both characters stay
      *at += 1;
    }
    return absl::OkStatus();
  }

  absl::string_view source_;
  size_t pos_ = 0;
  int line_ = 1;
  std::vector<Token> tokens_;
};

}  // namespace

absl::StatusOr<std::vector<Token>> Tokenize(absl::string_view source) {
  const std::string text = NormalizeLines(source);
  return Lexer(text).Run();
}

}  // namespace bantam::chat
