// Token masks: exact for every token, whatever was read before, within bounds of memory.

#include "runtime/grammar/matcher.h"

#include <gmock/gmock.h>

#include <random>

#include "tests/grammar/support.h"

namespace bantam::grammar {
namespace {

constexpr char kJson[] = R"(
root ::= object
object ::= "{" (pair ("," pair)*)? "}"
pair ::= string ":" value
array ::= "[" (value ("," value)*)? "]"
value ::= object | array | string | number | "true" | "null"
string ::= "\"" ([^"\\] | "\\" ["\\n])* "\""
number ::= "-"? [0-9]+ ("." [0-9]{1,3})?
)";

int32_t TokenOf(absl::string_view text) {
  const auto ids =
      TinyVocabulary::Get().tokenizer->Encode(text, {.add_special = false, .parse_special = true});
  EXPECT_EQ(ids.size(), 1u) << text;
  return ids[0];
}

// A mask must be what trying each token gives.
void CheckMask(Matcher& matcher) {
  const TinyVocabulary& vocabulary = TinyVocabulary::Get();
  const std::span<const uint64_t> mask = matcher.Mask();
  for (int32_t id = 0; id < vocabulary.tokenizer->size(); ++id) {
    if (vocabulary.tokenizer->kind(id) == tokenizer::TokenKind::kControl) continue;
    Matcher copy = matcher;
    ASSERT_EQ(copy.Accept(id).ok(), Allows(mask, id)) << id;
  }
  ASSERT_EQ(Allows(mask, TokenOf("<|im_end|>")), matcher.MayEnd());
}

TEST(Matcher, MasksAreWhatTryingEachTokenGives) {
  const char* const grammars[] = {kJson,
                                  "root ::= [^x]* \"x\"",
                                  "root ::= (\"the\" | \"than\" | \" the\")+",
                                  "root ::= [à-ÿ日-月]*",
                                  "root ::= .{0,5}",
                                  "root ::= \"(\" root \")\" root | \"\""};
  std::mt19937_64 random(5);
  for (const char* text : grammars) {
    const auto grammar = Compile(text);
    for (int run = 0; run < 4; ++run) {
      Matcher matcher = Match(grammar);
      for (int step = 0; step < 25; ++step) {
        CheckMask(matcher);
        std::vector<int32_t> allowed;
        const auto mask = matcher.Mask();
        for (int32_t id = 0; id < 261; ++id) {
          if (Allows(mask, id)) allowed.push_back(id);
        }
        if (allowed.empty()) break;
        ASSERT_TRUE(matcher.Accept(allowed[random() % allowed.size()]).ok());
      }
    }
  }
}

TEST(Matcher, TokensMayEndWithinACharacter) {
  Matcher matcher = Match(Compile("root ::= [é-ü] \"日\""));
  const std::string text = "ê日";
  for (size_t i = 0; i < text.size(); ++i) {
    EXPECT_FALSE(matcher.MayEnd());
    ASSERT_TRUE(matcher.AcceptText(text.substr(i, 1)));
  }
  EXPECT_TRUE(matcher.MustEnd());
}

TEST(Matcher, TokensByName) {
  Matcher matcher = Match(Compile("root ::= <|im_start|> !<[257]>* <|im_start|> \"a\" | \"b\""));
  const int32_t start = TokenOf("<|im_start|>");
  EXPECT_TRUE(Allows(matcher.Mask(), start));
  EXPECT_TRUE(Allows(matcher.Mask(), TokenOf("b")));
  EXPECT_FALSE(Allows(matcher.Mask(), TokenOf("a")));
  ASSERT_TRUE(matcher.Accept(start).ok());
  EXPECT_TRUE(Allows(matcher.Mask(), TokenOf("q")));
  EXPECT_FALSE(Allows(matcher.Mask(), TokenOf("the")));
  EXPECT_FALSE(Allows(matcher.Mask(), TokenOf("<|im_end|>")));
  ASSERT_TRUE(matcher.Accept(TokenOf("q")).ok());
  ASSERT_TRUE(matcher.Accept(start).ok());
  ASSERT_TRUE(matcher.Accept(TokenOf("a")).ok());
  EXPECT_TRUE(matcher.MayEnd());
  // The text of a control token is not the token.
  EXPECT_FALSE(Match(Compile("root ::= \"<|im_start|>\"")).Accept(start).ok());
}

TEST(Matcher, AWrongTokenChangesNothing) {
  Matcher matcher = Match(Compile("root ::= \"ab\""));
  EXPECT_FALSE(matcher.Accept(TokenOf("b")).ok());
  EXPECT_FALSE(matcher.Accept(TokenOf("<|im_end|>")).ok());
  EXPECT_FALSE(matcher.Accept(-1).ok());
  EXPECT_FALSE(matcher.Accept(1 << 20).ok());
  EXPECT_TRUE(matcher.AcceptText("ab"));
  EXPECT_TRUE(matcher.Accept(TokenOf("<|im_end|>")).ok());
  matcher.Reset();
  EXPECT_FALSE(matcher.MayEnd());
  EXPECT_TRUE(matcher.AcceptText("a"));
}

TEST(Matcher, NestingIsBounded) {
  Matcher matcher = Match(Compile("root ::= \"(\" root \")\" | \"\""));
  int depth = 0;
  while (depth < 5000 && matcher.AcceptText("(")) ++depth;
  EXPECT_GT(depth, 1000);
  EXPECT_LT(depth, 1100);
  // The way back is still open.
  ASSERT_TRUE(matcher.AcceptText(std::string(depth, ')')));
  EXPECT_TRUE(matcher.MayEnd());
}

TEST(Matcher, RightRecursionTakesNoRoom) {
  Matcher matcher = Match(Compile("root ::= \"a\" root | \"\""));
  ASSERT_TRUE(matcher.AcceptText(std::string(100000, 'a')));
  EXPECT_LT(matcher.node_count(), 10u);
}

TEST(Matcher, AmbiguityAndLongTextsAreBounded) {
  const char* const grammars[] = {"root ::= \"a\" root | \"a\" root root | \"\"",
                                  "root ::= (\"a\" | \"aa\" | \"aaa\")* [ab]{0,500}",
                                  "root ::= \"a\" root \"b\" | \"a\" root \"c\" | \"\"",
                                  "root ::= x{0,3000}\nx ::= [ab]+ | [a]+",
                                  "root ::= [ab]{0,2000} \"a\" [ab]{50}"};
  for (const char* text : grammars) {
    Matcher matcher = Match(Compile(text));
    for (int i = 0; i < 150 && matcher.AcceptText("a"); ++i) {
      if (i % 30 == 0) matcher.Mask();
    }
    EXPECT_LT(matcher.situation_count(), 40000u) << text;
    EXPECT_LT(matcher.node_count(), 400000u) << text;
  }
}

TEST(Matcher, WhatIsForgottenIsMadeAgain) {
  // Every array opened is a situation of its own; masks must stay right past the limit.
  Matcher matcher = Match(Compile(kJson));
  ASSERT_TRUE(matcher.AcceptText("{\"a\":"));
  std::mt19937_64 random(1);
  size_t most = 0;
  for (int i = 0; i < 60; ++i) {
    std::string piece;
    for (int n = 0; n < 300; ++n) piece += "[";
    for (int n = 0; n < 300; ++n) piece += std::to_string(random() % 100) + (n % 3 ? "]" : ",2]");
    // "[[..1],2]": commas and values between closings.
    std::string text = std::string(300, '[') + "1" + std::string(300, ']');
    ASSERT_TRUE(matcher.AcceptText(i == 0 ? text.substr(0, 301) + std::string(300, ']') + ",\"b\":"
                                          : text + ",\"k" + std::to_string(i) + "\":"));
    matcher.Mask();
    most = std::max(most, matcher.situation_count());
  }
  EXPECT_LT(most, 20000u);
  CheckMask(matcher);
}

}  // namespace
}  // namespace bantam::grammar
