// GBNF: what it says, against a direct interpretation of the syntax tree, and what is refused.

#include "runtime/grammar/grammar.h"

#include <gmock/gmock.h>

#include <random>

#include "absl/strings/str_cat.h"
#include "runtime/grammar/utf8_ranges.h"
#include "tests/grammar/support.h"

namespace bantam::grammar {
namespace {

using ::testing::HasSubstr;

std::string ErrorOf(absl::string_view text) {
  const auto grammar = Grammar::FromGbnf(text, TinyVocabulary::Get().tokenizer.get());
  EXPECT_FALSE(grammar.ok()) << text;
  const std::string message(grammar.status().message());
  EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  return message;
}

TEST(Gbnf, SaysWhatItMeans) {
  struct Case {
    const char* grammar;
    std::vector<std::string> in, out;
  };
  const Case cases[] = {
      {"root ::= \"yes\" | \"no\"", {"yes", "no"}, {"", "ye", "yesno", "maybe"}},
      {"root ::= [a-cx]+", {"a", "abcx"}, {"", "d", "ad"}},
      {"root ::= [^a\\n]", {"b", "é", "日", "😀"}, {"a", "\n", "", "bb"}},
      {"root ::= .", {"\n", "é", "\U0010FFFF"}, {"", "ab"}},
      {"root ::= [à-ÿ☀-☂]{2}", {"éé", "☁☂"}, {"é", "€é", "☃é"}},
      {"root ::= \"\\x41\\u00e9\\U0001F600\\n\\t\\\\\\\"\"", {"Aé😀\n\t\\\""}, {"A"}},
      {"root ::= [\\]\\[\\-^]", {"]", "[", "-", "^"}, {"\\", "a"}},
      {"root ::= [-a] [a-]", {"--", "aa", "-a"}, {"b-"}},
      {"root ::= \"a\"{2} \"b\"{1,3} \"c\"{,2} \"d\"{1,}",
       {"aabd", "aabbbccddd"},
       {"abd", "aabcccd"}},
      {"root ::= (\"a\" | \"b\" # first\n | \"c\")* # all\n", {"", "abc"}, {"d"}},
      {"root ::= one |\n two\none ::= \"1\"\ntwo ::= \"2\"", {"1", "2"}, {"12"}},
      {"root::=x x\nx::=\"a\"?", {"", "a", "aa"}, {"aaa"}},
      // Nested and right recursion, an empty rule in the middle.
      {"root ::= \"(\" root \")\" | e\ne ::= \"\"", {"", "()", "((()))"}, {"(", "(()"}},
      {"root ::= \"a\" root | \"b\"", {"b", "aaab"}, {"a", "ba"}},
      {"root ::= (\"a\"? \"b\"?)* \"c\"", {"c", "abc", "bbaac"}, {"ab"}},
      // A* at the front of an alternative must not lend its loop to the other.
      {"root ::= \"a\"* | \"b\"", {"", "aaa", "b"}, {"ab"}},
      {"root ::= \"\"", {""}, {"a"}},
  };
  for (const Case& c : cases) {
    const auto grammar = Compile(c.grammar);
    for (const std::string& text : c.in) EXPECT_TRUE(Accepts(grammar, text)) << c.grammar << text;
    for (const std::string& text : c.out) EXPECT_FALSE(Accepts(grammar, text)) << c.grammar << text;
  }
}

TEST(Gbnf, RefusesWithTheLine) {
  EXPECT_THAT(ErrorOf("root ::= a"), HasSubstr("line 1: rule 'a' is not defined"));
  EXPECT_THAT(ErrorOf("x ::= \"a\""), HasSubstr("no rule 'root'"));
  EXPECT_THAT(ErrorOf(""), HasSubstr("no rule 'root'"));
  EXPECT_THAT(ErrorOf("root ::= \"a\"\nroot ::= \"b\""),
              HasSubstr("line 2: rule 'root' is defined"));
  EXPECT_THAT(ErrorOf("root ::= \"a"), HasSubstr("line 1: expected \""));
  EXPECT_THAT(ErrorOf("\n\nroot ::= [a"), HasSubstr("line 3: expected ]"));
  EXPECT_THAT(ErrorOf("root ::= (\"a\""), HasSubstr("expected )"));
  EXPECT_THAT(ErrorOf("root ::= *"), HasSubstr("nothing before"));
  EXPECT_THAT(ErrorOf("root ::= \"a\"{3,2}"), HasSubstr("below"));
  EXPECT_THAT(ErrorOf("root ::= \"a\"{9999999}"), HasSubstr("repetitions"));
  EXPECT_THAT(ErrorOf("root ::= [z-a]"), HasSubstr("backwards"));
  EXPECT_THAT(ErrorOf("root ::= []"), HasSubstr("no character"));
  EXPECT_THAT(ErrorOf("root ::= \"\\q\""), HasSubstr("is no escape"));
  EXPECT_THAT(ErrorOf("root ::= \"\\ud800\""), HasSubstr("no character"));
  EXPECT_THAT(ErrorOf("root ::= \"\xff\""), HasSubstr("UTF-8"));
  EXPECT_THAT(ErrorOf("root ::= <nothing>"), HasSubstr("no token <nothing>"));
  EXPECT_THAT(ErrorOf("root ::= <[100000]>"), HasSubstr("no token"));
  EXPECT_THAT(ErrorOf("root = \"a\""), HasSubstr("expected ::="));
  EXPECT_THAT(ErrorOf(absl::StrCat("root ::= ", std::string(1000, '('), "\"a\"")),
              HasSubstr("nested more than"));
  EXPECT_THAT(ErrorOf("root ::= a{99999}\na ::= \"b\"\nc ::= ((\"x\"{9999}){9999}){9999}"),
              HasSubstr("too large"));
  EXPECT_FALSE(Grammar::FromGbnf("root ::= <|im_end|>", nullptr).ok());
}

TEST(Gbnf, LeftRecursionIsNamed) {
  EXPECT_THAT(ErrorOf("root ::= root \"a\" | \"b\""), HasSubstr("rule 'root' is left-recursive"));
  EXPECT_THAT(ErrorOf("root ::= a\na ::= b \"x\"\nb ::= a | \"y\""), HasSubstr("a -> b -> a"));
  EXPECT_THAT(ErrorOf("root ::= e root \"a\" | \"b\"\ne ::= \"x\"?"), HasSubstr("left-recursive"));
  EXPECT_THAT(ErrorOf("root ::= (e)* root\ne ::= f\nf ::= \"\""), HasSubstr("left-recursive"));
}

// Where a text of `e` that starts at `at` can end.
using Ends = std::set<size_t>;
struct Reference {
  const Syntax& syntax;
  absl::string_view text;
  std::map<std::pair<int32_t, size_t>, Ends> memo = {};

  Ends Of(const Expr& e, size_t at) {
    switch (e.kind) {
      case Expr::Kind::kLiteral:
        return text.substr(at, e.literal.size()) == e.literal ? Ends{at + e.literal.size()}
                                                              : Ends{};
      case Expr::Kind::kClass:
        if (at < text.size()) {
          for (const CharRange& r : e.ranges) {
            const auto c = static_cast<unsigned char>(text[at]);
            if (r.first <= c && c <= r.last) return {at + 1};
          }
        }
        return {};
      case Expr::Kind::kRule: {
        const auto key = std::pair(e.rule, at);
        if (const auto known = memo.find(key); known != memo.end()) return known->second;
        return memo[key] = Of(syntax.rules[e.rule].body, at);
      }
      case Expr::Kind::kToken:
        return {};
      case Expr::Kind::kSequence: {
        Ends ends = {at};
        for (const Expr& child : e.children) ends = Step(child, ends);
        return ends;
      }
      case Expr::Kind::kChoice: {
        Ends ends;
        for (const Expr& child : e.children) ends.merge(Of(child, at));
        return ends;
      }
      case Expr::Kind::kRepeat: {
        Ends now = {at}, ends;
        for (int64_t i = 0; i <= (e.max < 0 ? e.min + 12 : e.max); ++i) {
          if (i >= e.min) ends.insert(now.begin(), now.end());
          now = Step(e.children[0], now);
        }
        return ends;
      }
    }
    return {};
  }
  Ends Step(const Expr& e, const Ends& from) {
    Ends ends;
    for (size_t at : from) ends.merge(Of(e, at));
    return ends;
  }
};

std::string RandomExpression(std::mt19937_64& random, int depth) {
  switch (random() % (depth > 0 ? 9 : 3)) {
    case 0:
      return "\"a\"";
    case 1:
      return "\"b\"";
    case 2:
      return "[ab]";
    case 3:
      return "r0";
    case 4:
      return "r1";
    case 5:
      return absl::StrCat("(", RandomExpression(random, depth - 1), " | ",
                          RandomExpression(random, depth - 1), ")");
    case 6:
      return absl::StrCat(
          "(", RandomExpression(random, depth - 1), ")",
          std::vector<const char*>{"*", "+", "?", "{2}", "{0,2}", "{1,}"}[random() % 6]);
    default:
      return absl::StrCat(RandomExpression(random, depth - 1), " ",
                          RandomExpression(random, depth - 1));
  }
}

TEST(Gbnf, RandomGrammarsEqualADirectInterpretation) {
  std::mt19937_64 random(7);
  int compared = 0, members = 0;
  for (int g = 0; g < 1500; ++g) {
    const std::string text = absl::StrCat("root ::= ", RandomExpression(random, 3),
                                          "\nr0 ::= ", RandomExpression(random, 3),
                                          "\nr1 ::= ", RandomExpression(random, 2));
    const auto grammar = Grammar::FromGbnf(text);
    if (!grammar.ok()) {
      EXPECT_THAT(std::string(grammar.status().message()), HasSubstr("left-recursive"));
      continue;
    }
    const auto syntax = ParseGbnf(text, nullptr);
    for (int bits = 0; bits < 127; ++bits) {  // every text of up to 6 characters
      std::string word;
      for (int rest = bits + 1; rest > 1; rest >>= 1) word += rest & 1 ? 'b' : 'a';
      Reference reference{*syntax, word};
      const bool member = reference.Of(syntax->rules[syntax->root].body, 0).contains(word.size());
      ASSERT_EQ(Accepts(*grammar, word), member) << text << "\n" << word;
      // Every start of a text must be allowed.
      for (size_t n = 0; member && n < word.size(); ++n) {
        Matcher matcher = Match(*grammar);
        ASSERT_TRUE(matcher.AcceptText(word.substr(0, n))) << text << "\n" << word;
      }
      ++compared;
      members += member;
    }
  }
  EXPECT_GT(compared, 50000);
  EXPECT_GT(members, 1000);
}

TEST(Gbnf, Utf8RangesAreExact) {
  std::mt19937_64 random(3);
  const char32_t corners[] = {0,      0x7F,   0x80,   0x7FF,   0x800,
                              0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF};
  for (int i = 0; i < 300; ++i) {
    auto pick = [&] {
      return random() % 2 ? corners[random() % 10] : static_cast<char32_t>(random() % 0x110000);
    };
    char32_t first = pick(), last = pick();
    if (first > last) std::swap(first, last);
    std::vector<Utf8Range> ranges;
    for (const CharRange& r : NormalizeRanges({{first, last}})) AppendUtf8Ranges(r, ranges);
    EXPECT_LT(ranges.size(), 20u);
    for (int k = 0; k < 200; ++k) {
      const char32_t c =
          k < 4 ? std::clamp<int64_t>(int64_t{k % 2 ? first : last} + k / 2 * (k % 2 ? -1 : 1), 0,
                                      0x10FFFF)
                : pick();
      if (c >= 0xD800 && c <= 0xDFFF) continue;
      std::string text;
      AppendUtf8(c, text);
      int in = 0;
      for (const Utf8Range& r : ranges) {
        bool fits = r.length == static_cast<int>(text.size());
        for (int b = 0; fits && b < r.length; ++b) {
          const auto byte = static_cast<uint8_t>(text[b]);
          fits = r.first[b] <= byte && byte <= r.last[b];
        }
        in += fits;
      }
      ASSERT_EQ(in, c >= first && c <= last)
          << uint32_t{c} << " in " << uint32_t{first} << "-" << uint32_t{last};
    }
  }
}

TEST(Gbnf, AnyBytesAreRefusedOrUnderstood) {
  const char* const pieces[] = {
      "root", " ::= ", "\"a\"",    "[a-z]", "[^", "]",    "(",     ")", "|",        "*",     "+",
      "?",    "{2,3}", "{",        "}",     "\n", "#",    "<",     ">", "!",        "\\x41", "\\u",
      ".",    "\xff",  "\xe2\x82", "a",     "\"", "{,9}", "<[3]>", "-", "root ::= "};
  std::mt19937_64 random(11);
  int understood = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string text = i % 2 ? "root ::= " : "";
    for (int n = random() % 14; n > 0; --n) text += pieces[random() % std::size(pieces)];
    const auto grammar = Grammar::FromGbnf(text, TinyVocabulary::Get().tokenizer.get());
    if (!grammar.ok()) {
      ASSERT_EQ(grammar.status().message().find('\n'), absl::string_view::npos);
      continue;
    }
    ++understood;
    Matcher matcher = Match(*grammar);
    matcher.Mask();
  }
  EXPECT_GT(understood, 500);
}

}  // namespace
}  // namespace bantam::grammar
