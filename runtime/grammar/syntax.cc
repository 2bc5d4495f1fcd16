#include "runtime/grammar/syntax.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "runtime/base/printable.h"
#include "runtime/base/status.h"
#include "runtime/tokenizer/utf8.h"

namespace bantam::grammar {
namespace {

constexpr int kMaxDepth = 200;
constexpr int64_t kMaxRepetition = 100000;
constexpr char32_t kLastCharacter = 0x10FFFF;
constexpr CharRange kSurrogates = {0xD800, 0xDFFF};

bool IsNameCharacter(char c) { return absl::ascii_isalnum(c) || c == '-' || c == '_'; }

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

class Parser {
 public:
  Parser(absl::string_view text, const tokenizer::Tokenizer* tokenizer)
      : all_(text), rest_(text), tokenizer_(tokenizer) {}

  absl::StatusOr<Syntax> Parse() {
    SkipSpace(/*newlines=*/true);
    while (!rest_.empty()) {
      BANTAM_RETURN_IF_ERROR(ParseRule());
      SkipSpace(true);
    }
    for (size_t i = 0; i < syntax_.rules.size(); ++i) {
      if (defined_[i]) continue;
      return absl::InvalidArgumentError(absl::StrCat("grammar line ", used_at_line_[i], ": rule '",
                                                     syntax_.rules[i].name, "' is not defined"));
    }
    const auto root = ids_.find("root");
    if (root == ids_.end()) {
      return absl::InvalidArgumentError("the grammar has no rule 'root', with which it begins");
    }
    syntax_.root = root->second;
    return std::move(syntax_);
  }

 private:
  int64_t Line() const {
    const absl::string_view before = all_.substr(0, all_.size() - rest_.size());
    return 1 + std::count(before.begin(), before.end(), '\n');
  }
  absl::Status Error(absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat("grammar line ", Line(), ": ", what));
  }
  // What stands here, for messages.
  std::string Here() const {
    if (rest_.empty()) return "the end";
    return absl::StrCat("'", Printable(rest_.substr(0, std::min<size_t>(rest_.find('\n'), 12))),
                        "'");
  }
  absl::Status Expected(absl::string_view what) const {
    return Error(absl::StrCat("expected ", what, ", found ", Here()));
  }

  void SkipSpace(bool newlines) {
    while (!rest_.empty()) {
      const char c = rest_.front();
      if (c == '#') {
        rest_.remove_prefix(std::min(rest_.find('\n'), rest_.size()));
      } else if (c == ' ' || c == '\t' || (newlines && (c == '\n' || c == '\r'))) {
        rest_.remove_prefix(1);
      } else {
        return;
      }
    }
  }

  int32_t RuleId(absl::string_view name) {
    auto [entry, added] = ids_.try_emplace(name, static_cast<int32_t>(syntax_.rules.size()));
    if (added) {
      syntax_.rules.push_back({std::string(name), {}});
      defined_.push_back(false);
      used_at_line_.push_back(Line());
    }
    return entry->second;
  }

  absl::StatusOr<absl::string_view> Name() {
    size_t length = 0;
    while (length < rest_.size() && IsNameCharacter(rest_[length])) ++length;
    if (length == 0) return Expected("the name of a rule");
    const absl::string_view name = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return name;
  }

  absl::Status ParseRule() {
    BANTAM_ASSIGN_OR_RETURN(const absl::string_view name, Name());
    const int32_t id = RuleId(name);
    if (defined_[id]) return Error(absl::StrCat("rule '", name, "' is defined twice"));
    defined_[id] = true;
    SkipSpace(false);
    if (!absl::ConsumePrefix(&rest_, "::=")) return Expected("::=");
    SkipSpace(true);
    BANTAM_ASSIGN_OR_RETURN(syntax_.rules[id].body, Choice(0));
    if (rest_.empty() || rest_.front() == '\n' || rest_.front() == '\r') return absl::OkStatus();
    return Expected("the end of the rule");
  }

  absl::StatusOr<Expr> Choice(int depth) {
    if (depth > kMaxDepth) {
      return Error(absl::StrCat("groups are nested more than ", kMaxDepth, " deep"));
    }
    Expr choice;
    choice.kind = Expr::Kind::kChoice;
    do {
      BANTAM_ASSIGN_OR_RETURN(Expr sequence, Sequence(depth));
      choice.children.push_back(std::move(sequence));
    } while (NextAlternative());
    return choice.children.size() == 1 ? std::move(choice.children[0]) : std::move(choice);
  }
  bool NextAlternative() {
    if (!absl::ConsumePrefix(&rest_, "|")) return false;
    SkipSpace(true);
    return true;
  }

  absl::StatusOr<Expr> Sequence(int depth) {
    Expr sequence;
    while (!rest_.empty()) {
      const char c = rest_.front();
      if (!(c == '"' || c == '[' || c == '(' || c == '.' || c == '<' || c == '!' ||
            IsNameCharacter(c))) {
        if (c == '*' || c == '+' || c == '?' || c == '{') {
          return Error(absl::StrCat("there is nothing before ", Here(), " to repeat"));
        }
        break;
      }
      BANTAM_ASSIGN_OR_RETURN(Expr item, Item(depth));
      SkipSpace(depth > 0);
      int repeats = 0;
      while (!rest_.empty()) {
        Expr repeat;
        BANTAM_ASSIGN_OR_RETURN(const bool is_repeat, Repetition(repeat));
        if (!is_repeat) break;
        if (++repeats > 16) return Error("more than 16 repetitions of one item");
        repeat.children.push_back(std::move(item));
        item = std::move(repeat);
        SkipSpace(depth > 0);
      }
      sequence.children.push_back(std::move(item));
    }
    if (sequence.children.size() == 1) {
      Expr only = std::move(sequence.children[0]);
      return only;
    }
    return sequence;
  }

  absl::StatusOr<Expr> Item(int depth) {
    Expr item;
    if (rest_.front() == '"') {
      item.kind = Expr::Kind::kLiteral;
      rest_.remove_prefix(1);
      while (!absl::ConsumePrefix(&rest_, "\"")) {
        BANTAM_ASSIGN_OR_RETURN(const char32_t c, Character("\""));
        AppendUtf8(c, item.literal);
      }
    } else if (rest_.front() == '[') {
      rest_.remove_prefix(1);
      item.kind = Expr::Kind::kClass;
      BANTAM_ASSIGN_OR_RETURN(item.ranges, Class());
    } else if (absl::ConsumePrefix(&rest_, ".")) {
      item.kind = Expr::Kind::kClass;
      item.ranges = Complement({});
    } else if (absl::ConsumePrefix(&rest_, "(")) {
      SkipSpace(true);
      BANTAM_ASSIGN_OR_RETURN(item, Choice(depth + 1));
      SkipSpace(true);
      if (!absl::ConsumePrefix(&rest_, ")")) return Expected(")");
    } else if (rest_.front() == '<' || rest_.front() == '!') {
      return Token();
    } else {
      BANTAM_ASSIGN_OR_RETURN(const absl::string_view name, Name());
      item.kind = Expr::Kind::kRule;
      item.rule = RuleId(name);
    }
    return item;
  }

  absl::StatusOr<Expr> Token() {
    Expr item;
    item.kind = Expr::Kind::kToken;
    item.negated = absl::ConsumePrefix(&rest_, "!");
    if (rest_.empty() || rest_.front() != '<') return Expected("<token>");
    const size_t end = rest_.find('>');
    if (end == absl::string_view::npos || rest_.substr(0, end).find('\n') != rest_.npos) {
      return Expected("> after the name of a token");
    }
    const absl::string_view text = rest_.substr(0, end + 1);
    if (tokenizer_ == nullptr) return Error("tokens cannot be named here: there is no vocabulary");
    int64_t id = tokenizer::kNoToken;
    absl::string_view number = text;
    if (absl::ConsumePrefix(&number, "<[") && absl::ConsumeSuffix(&number, "]>")) {
      if (!absl::SimpleAtoi(number, &id)) return Expected("the number of a token");
    } else {
      id = tokenizer_->Find(text);
    }
    if (id < 0 || id >= tokenizer_->size()) {
      return Error(absl::StrCat("the vocabulary has no token ", Printable(text)));
    }
    item.token = static_cast<tokenizer::TokenId>(id);
    rest_.remove_prefix(end + 1);
    return item;
  }

  // One character of a literal or class, which `ends` it.
  absl::StatusOr<char32_t> Character(absl::string_view ends) {
    if (rest_.empty()) return Expected(ends);
    if (rest_.front() != '\\') {
      auto c = TakeCharacter(rest_);
      return c.ok() ? c : Error(c.status().message());
    }
    rest_.remove_prefix(1);
    if (rest_.empty()) return Expected("an escape");
    const char c = rest_.front();
    int digits = 0;
    switch (c) {
      case 'x':
        digits = 2;
        break;
      case 'u':
        digits = 4;
        break;
      case 'U':
        digits = 8;
        break;
      case 'n':
        rest_.remove_prefix(1);
        return U'\n';
      case 'r':
        rest_.remove_prefix(1);
        return U'\r';
      case 't':
        rest_.remove_prefix(1);
        return U'\t';
      case '\\':
      case '"':
      case '[':
      case ']':
      case '-':
      case '^':
      case '/':
        rest_.remove_prefix(1);
        return static_cast<char32_t>(c);
      default:
        return Error(absl::StrCat("'\\", Printable(rest_.substr(0, 1)), "' is no escape"));
    }
    rest_.remove_prefix(1);
    uint64_t value = 0;
    for (int i = 0; i < digits; ++i) {
      const int digit = rest_.empty() ? -1 : HexValue(rest_.front());
      if (digit < 0) return Expected(absl::StrCat(digits, " hexadecimal digits"));
      value = value * 16 + digit;
      rest_.remove_prefix(1);
    }
    if (value > kLastCharacter || (value >= kSurrogates.first && value <= kSurrogates.last)) {
      return Error(absl::StrCat("U+", absl::Hex(value), " is no character"));
    }
    return static_cast<char32_t>(value);
  }

  // After "[".
  absl::StatusOr<std::vector<CharRange>> Class() {
    const bool negated = absl::ConsumePrefix(&rest_, "^");
    std::vector<CharRange> ranges;
    while (!absl::ConsumePrefix(&rest_, "]")) {
      BANTAM_ASSIGN_OR_RETURN(const char32_t first, Character("]"));
      char32_t last = first;
      // A hyphen before the end is itself.
      if (rest_.size() > 1 && rest_[0] == '-' && rest_[1] != ']') {
        rest_.remove_prefix(1);
        BANTAM_ASSIGN_OR_RETURN(last, Character("]"));
        if (last < first) return Error("a range of characters runs backwards");
      }
      ranges.push_back({first, last});
    }
    ranges = NormalizeRanges(std::move(ranges));
    if (negated) ranges = Complement(ranges);
    if (ranges.empty()) return Error("a class that no character is in");
    return ranges;
  }

  absl::StatusOr<int64_t> Number() {
    size_t length = 0;
    while (length < rest_.size() && absl::ascii_isdigit(rest_[length])) ++length;
    int64_t value = 0;
    if (length == 0) return Expected("a number");
    if (!absl::SimpleAtoi(rest_.substr(0, length), &value) || value > kMaxRepetition) {
      return Error(absl::StrCat("more than ", kMaxRepetition, " repetitions"));
    }
    rest_.remove_prefix(length);
    return value;
  }

  // Fills `repeat` but for its child; false when there is none here.
  absl::StatusOr<bool> Repetition(Expr& repeat) {
    repeat.kind = Expr::Kind::kRepeat;
    repeat.max = Expr::kUnlimited;
    if (absl::ConsumePrefix(&rest_, "*")) return true;
    if (absl::ConsumePrefix(&rest_, "+")) {
      repeat.min = 1;
      return true;
    }
    if (absl::ConsumePrefix(&rest_, "?")) {
      repeat.max = 1;
      return true;
    }
    if (!absl::ConsumePrefix(&rest_, "{")) return false;
    SkipSpace(false);
    if (!rest_.empty() && rest_.front() != ',') {
      BANTAM_ASSIGN_OR_RETURN(repeat.min, Number());
      SkipSpace(false);
    }
    if (absl::ConsumePrefix(&rest_, ",")) {
      SkipSpace(false);
      if (!rest_.empty() && rest_.front() != '}') {
        BANTAM_ASSIGN_OR_RETURN(repeat.max, Number());
        SkipSpace(false);
        if (repeat.max < repeat.min) return Error("a repetition's most is below its least");
      }
    } else {
      repeat.max = repeat.min;
    }
    if (!absl::ConsumePrefix(&rest_, "}")) return Expected("}");
    return true;
  }

  const absl::string_view all_;
  absl::string_view rest_;
  const tokenizer::Tokenizer* const tokenizer_;
  Syntax syntax_;
  absl::flat_hash_map<std::string, int32_t> ids_;
  std::vector<bool> defined_;
  std::vector<int64_t> used_at_line_;
};

}  // namespace

void AppendUtf8(char32_t c, std::string& out) {
  auto tail = [&](int shift) { out += static_cast<char>(0x80 | ((c >> shift) & 0x3F)); };
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | (c >> 6));
    tail(0);
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | (c >> 12));
    tail(6);
    tail(0);
  } else {
    out += static_cast<char>(0xF0 | (c >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
}

absl::StatusOr<char32_t> TakeCharacter(absl::string_view& text) {
  const tokenizer::Utf8Step step = tokenizer::NextUtf8(text, 0);
  if (step.state != tokenizer::Utf8State::kValid) {
    return absl::InvalidArgumentError("bytes that are not UTF-8");
  }
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  char32_t c = byte(0);
  if (step.length > 1) c &= 0xFF >> (step.length + 1);
  for (size_t i = 1; i < step.length; ++i) c = (c << 6) | (byte(i) & 0x3F);
  text.remove_prefix(step.length);
  return c;
}

std::vector<CharRange> NormalizeRanges(std::vector<CharRange> ranges) {
  std::vector<CharRange> pieces;
  for (const CharRange& r : ranges) {
    if (r.first < kSurrogates.first) {
      pieces.push_back({r.first, std::min<char32_t>(r.last, kSurrogates.first - 1)});
    }
    if (r.last > kSurrogates.last) {
      pieces.push_back({std::max<char32_t>(r.first, kSurrogates.last + 1), r.last});
    }
  }
  std::sort(pieces.begin(), pieces.end(),
            [](const CharRange& a, const CharRange& b) { return a.first < b.first; });
  std::vector<CharRange> joined;
  for (const CharRange& r : pieces) {
    if (!joined.empty() && r.first <= joined.back().last + 1) {
      joined.back().last = std::max(joined.back().last, r.last);
    } else {
      joined.push_back(r);
    }
  }
  return joined;
}

std::vector<CharRange> Complement(const std::vector<CharRange>& ranges) {
  std::vector<CharRange> rest;
  char32_t next = 0;
  for (const CharRange& r : ranges) {
    if (r.first > next) rest.push_back({next, r.first - 1});
    next = r.last + 1;
  }
  if (next <= kLastCharacter) rest.push_back({next, kLastCharacter});
  return NormalizeRanges(std::move(rest));
}

absl::StatusOr<Syntax> ParseGbnf(absl::string_view text, const tokenizer::Tokenizer* tokenizer) {
  return Parser(text, tokenizer).Parse();
}

}  // namespace bantam::grammar
