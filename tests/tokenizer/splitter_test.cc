#include "runtime/tokenizer/splitter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/tokenizer/pre_tokenizers.h"

namespace bantam::tokenizer {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> Pieces(const Splitter& splitter, absl::string_view text) {
  std::vector<size_t> ends;
  splitter.Split(text, ends);
  std::vector<std::string> pieces;
  size_t begin = 0;
  for (const size_t end : ends) {
    EXPECT_GT(end, begin);
    pieces.emplace_back(text.substr(begin, end - begin));
    begin = end;
  }
  EXPECT_EQ(begin, text.size());
  return pieces;
}

std::vector<std::string> Split(std::vector<absl::string_view> patterns, absl::string_view text) {
  auto splitter = Splitter::Make(patterns);
  EXPECT_TRUE(splitter.ok()) << splitter.status();
  return splitter.ok() ? Pieces(*splitter, text) : std::vector<std::string>();
}

std::vector<std::string> SplitBy(absl::string_view name, absl::string_view text) {
  const PreTokenizer* pre = FindPreTokenizer(name);
  EXPECT_NE(pre, nullptr) << name;
  if (pre == nullptr) return {};
  return Split({pre->patterns.begin(), pre->patterns.end()}, text);
}

TEST(Splitter, MatchesAndWhatIsBetweenThem) {
  EXPECT_THAT(Split({"b+"}, "abbac"), ElementsAre("a", "bb", "ac"));
  EXPECT_THAT(Split({"b+"}, "b"), ElementsAre("b"));
  EXPECT_THAT(Split({"b+"}, "a"), ElementsAre("a"));
  EXPECT_THAT(Split({"b+"}, ""), ElementsAre());
}

TEST(Splitter, FurtherPatternsSeeEachPieceAlone) {
  EXPECT_THAT(Split({"[0-9]", "a+\\z|a"}, "aa1aab"), ElementsAre("aa", "1", "a", "a", "b"));
}

TEST(Splitter, EmptyMatchesCutOnce) {
  EXPECT_THAT(Split({"(?=é)"}, "aéé"), ElementsAre("a", "é", "é"));
  EXPECT_THAT(Split({""}, "aé"), ElementsAre("a", "é"));
}

TEST(Splitter, WhiteSpaceIsUnicodes) {
  // U+180E was white space before Unicode 6.3.
  EXPECT_THAT(Split({"\\s"}, "a\u0085b\u3000c\u180Ed"),
              ElementsAre("a", "\u0085", "b", "\u3000", "c\u180Ed"));
  EXPECT_THAT(Split({"\\S+"}, "ab \u00A0é"), ElementsAre("ab", " \u00A0", "é"));
  EXPECT_THAT(Split({"[^\\sa]"}, "a b"), ElementsAre("a ", "b"));
}

TEST(Splitter, RunawayMatchingLeavesTheRestInOnePiece) {
  // Exponential in the number of a's.
  const std::string text = "xb" + std::string(3000, 'a') + "c";
  EXPECT_THAT(Split({"b|(?:(?:a+)+)+d"}, text), ElementsAre("x", "b", text.substr(2)));
}

TEST(Splitter, BadPatternIsAnError) {
  const absl::string_view patterns[] = {"(a"};
  EXPECT_EQ(Splitter::Make(patterns).status().code(), absl::StatusCode::kInternal);
}

TEST(PreTokenizers, UnknownNameIsNone) {
  EXPECT_EQ(FindPreTokenizer("gpt"), nullptr);
  EXPECT_EQ(FindPreTokenizer("gpt-2 phi-2"), nullptr);
  EXPECT_EQ(FindPreTokenizer(""), FindPreTokenizer("default"));
  EXPECT_EQ(FindPreTokenizer("phi-2"), FindPreTokenizer("gpt-2"));
}

TEST(PreTokenizers, Words) {
  EXPECT_THAT(SplitBy("gpt-2", "I'll  pay $1234!\n\nOK"),
              ElementsAre("I", "'ll", " ", " pay", " $", "1234", "!", "\n", "\n", "OK"));
  EXPECT_THAT(SplitBy("smollm", "a 12b"), ElementsAre("a", " ", "1", "2", "b"));
  EXPECT_THAT(SplitBy("llama-bpe", "I'LL  pay $1234!\n\nOK"),
              ElementsAre("I", "'LL", " ", " pay", " $", "123", "4", "!\n\n", "OK"));
  EXPECT_THAT(SplitBy("qwen2", "x=12\t\ty"), ElementsAre("x", "=", "1", "2", "\t", "\ty"));
  EXPECT_THAT(SplitBy("qwen2", "e\u0301a"), ElementsAre("e", "\u0301a"));
  EXPECT_THAT(SplitBy("qwen35", "e\u0301a"), ElementsAre("e\u0301a"));
  EXPECT_THAT(SplitBy("gpt-4o", "HTTPServer isn't 12345 a/b\n/"),
              ElementsAre("HTTPServer", " isn't", " ", "123", "45", " a", "/b", "\n", "/"));
  EXPECT_THAT(SplitBy("tekken", "CamelCase isn't 12"),
              ElementsAre("Camel", "Case", " isn", "'t", " ", "1", "2"));
  EXPECT_THAT(SplitBy("deepseek-v3", "ab 1234，你好 x."),
              ElementsAre("ab", " ", "123", "4", "，", "你好", " x", "."));
  EXPECT_THAT(SplitBy("falcon", "a,,b 12345"), ElementsAre("a", ",,", "b", " ", "123", "45"));
}

// Each takes linear time, and a run of one character is no reason to give up.
TEST(PreTokenizers, LongRuns) {
  for (const char* name : {"gpt-2",  "llama-bpe",    "glm4",           "dbrx",        "qwen2",
                           "qwen35", "smollm",       "default",        "falcon",      "gpt-4o",
                           "tekken", "deepseek-llm", "deepseek-coder", "deepseek-v3", "poro-chat",
                           "viking", "bailingmoe",   "seed-coder",     "minicpm5",    "ufakzeka"}) {
    for (const char* unit : {"a", "A", "你", " ", "\n", "1", ".", "\u0301", "a ", " \n", "'"}) {
      std::string text;
      while (text.size() < 200000) text += unit;
      text += "\nxyz 1, end";
      const std::vector<std::string> pieces = SplitBy(name, text);
      // Had matching failed, the end would hang on to the run.
      ASSERT_FALSE(pieces.empty());
      EXPECT_LE(pieces.back().size(), 5u) << name << " " << unit;
    }
  }
}

}  // namespace
}  // namespace bantam::tokenizer
