// Grammars as text: GBNF, the notation that users of llama.cpp know.
//
//   root  ::= "- " item ("\n- " item){0,9}   # literals, groups, repetition, comments
//   item  ::= [^\n]+ | <think> | !<[1000]>   # classes, one token, any token but one
//
// Repetition is * + ? {m} {m,} {m,n} {,n}; `.` is any character; escapes are \n \r \t \\ \" \[ \]
// \- \^ \xXX \uXXXX \UXXXXXXXX. A rule ends with its line, except within a group or after `|`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/tokenizer/tokenizer.h"

namespace bantam::grammar {

struct CharRange {
  char32_t first, last;  // both included
};

struct Expr {
  enum class Kind : uint8_t { kLiteral, kClass, kRule, kToken, kSequence, kChoice, kRepeat };
  static constexpr int64_t kUnlimited = -1;

  Kind kind = Kind::kSequence;
  std::string literal;            // kLiteral: bytes, UTF-8
  std::vector<CharRange> ranges;  // kClass: sorted, apart, without surrogates, not empty
  int32_t rule = 0;               // kRule: index into Syntax::rules
  tokenizer::TokenId token = 0;   // kToken
  bool negated = false;           // kToken: any other token
  int64_t min = 0, max = 0;       // kRepeat
  std::vector<Expr> children;     // kSequence, kChoice, kRepeat (one)
};

struct Rule {
  std::string name;
  Expr body;
};

struct Syntax {
  std::vector<Rule> rules;
  int32_t root = 0;
};

// `tokenizer` finds tokens named in the grammar; without one they are refused. kInvalidArgument
// names the line and what is wrong there: syntax, an undefined or twice defined rule, a token that
// is not in the vocabulary, nesting deeper than 200.
absl::StatusOr<Syntax> ParseGbnf(absl::string_view text, const tokenizer::Tokenizer* tokenizer);

// Appends `c` as UTF-8.
void AppendUtf8(char32_t c, std::string& out);

// The character at the start of `text`, which it is cut off. kInvalidArgument for bytes that are
// not UTF-8.
absl::StatusOr<char32_t> TakeCharacter(absl::string_view& text);

// Sorts, joins and drops surrogates.
std::vector<CharRange> NormalizeRanges(std::vector<CharRange> ranges);
// All characters that are not in `ranges` (normalised).
std::vector<CharRange> Complement(const std::vector<CharRange>& ranges);

}  // namespace bantam::grammar
