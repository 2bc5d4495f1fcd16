#include "runtime/tokenizer/partition.h"

#include <gtest/gtest.h>

#include <random>

#include "absl/strings/str_cat.h"

namespace bantam::tokenizer {
namespace {

Vocabulary Make(std::vector<std::pair<absl::string_view, TokenKind>> tokens) {
  Vocabulary v;
  for (const auto& [text, kind] : tokens) {
    v.texts.push_back(text);
    v.kinds.push_back(kind);
  }
  return v;
}

std::string Show(const std::vector<Fragment>& fragments) {
  std::string out;
  for (const Fragment& f : fragments) {
    if (f.token != kNoToken) {
      absl::StrAppend(&out, "<", f.token, ">");
    } else {
      EXPECT_FALSE(f.text.empty());
      absl::StrAppend(&out, "[", f.text, "]");
    }
  }
  return out;
}

constexpr TokenKind kControl = TokenKind::kControl;
constexpr TokenKind kUser = TokenKind::kUserDefined;

TEST(Partition, ControlTokensOnRequestOnly) {
  const SpecialPartition p(Make({{"<s>", kControl}, {"<u>", kUser}, {"b", TokenKind::kNormal}}),
                           false);
  EXPECT_EQ(Show(p.Split("a<s>b<u>", false)), "[a<s>b]<1>");
  EXPECT_EQ(Show(p.Split("a<s>b<u>", true)), "[a]<0>[b]<1>");
  EXPECT_EQ(Show(p.Split("<s><s>", true)), "<0><0>");
  EXPECT_EQ(Show(p.Split("", true)), "");
  EXPECT_EQ(Show(p.Split("<s", true)), "[<s]");
}

TEST(Partition, LongerFirstEvenFurtherRight) {
  const SpecialPartition p(Make({{"ab", kUser}, {"bcd", kUser}, {"x", kUser}, {"xx", kUser}}),
                           false);
  EXPECT_EQ(Show(p.Split("abcd", false)), "[a]<1>");
  EXPECT_EQ(Show(p.Split("abab", false)), "<0><0>");
  EXPECT_EQ(Show(p.Split("xxxxx", false)), "<3><3><2>");
}

TEST(Partition, StripsSpaceAfterSomeTokens) {
  const SpecialPartition p(Make({{"<|end|>", kControl}, {"<s>", kControl}, {"  ", kUser}}), true);
  EXPECT_EQ(Show(p.Split("<|end|> \n a <s> b", true)), "<0>[a ]<1>[ b]");
  EXPECT_EQ(Show(p.Split("<|end|>  ", true)), "<0>");
  EXPECT_EQ(Show(p.Split("<|end|>\n<|end|>", true)), "<0><0>");
}

// By the rule as it is stated, without any index.
std::vector<Fragment> Naive(const Vocabulary& v, absl::string_view text) {
  std::vector<TokenId> order(v.size());
  for (TokenId id = 0; id < v.size(); ++id) order[id] = id;
  std::vector<Fragment> fragments = {{text, kNoToken}};
  for (size_t length = 8; length > 0; --length) {
    std::vector<Fragment> next;
    for (const Fragment& f : fragments) {
      size_t begin = 0;
      for (size_t i = 0; f.token == kNoToken && i + length <= f.text.size();) {
        TokenId found = kNoToken;
        for (const TokenId id : order) {
          if (f.text.substr(i, length) == v.texts[id]) found = id;
        }
        if (found == kNoToken) {
          ++i;
          continue;
        }
        if (i > begin) next.push_back({f.text.substr(begin, i - begin), kNoToken});
        next.push_back({{}, found});
        begin = i += length;
      }
      if (f.token != kNoToken) next.push_back(f);
      if (begin < f.text.size()) next.push_back({f.text.substr(begin), kNoToken});
    }
    fragments = next;
  }
  return fragments;
}

TEST(Partition, RandomTextsAsStated) {
  std::mt19937 random(7);
  for (int round = 0; round < 2000; ++round) {
    const auto word = [&](size_t longest) {
      std::string text(1 + random() % longest, ' ');
      for (char& c : text) c = "ab c"[random() % 3];
      return text;
    };
    std::vector<std::string> texts;
    for (int i = 0; i < 5; ++i) texts.push_back(word(4));
    std::sort(texts.begin(), texts.end());
    texts.erase(std::unique(texts.begin(), texts.end()), texts.end());
    Vocabulary v;
    for (const std::string& text : texts) {
      v.texts.push_back(text);
      v.kinds.push_back(kUser);
    }
    const std::string text = word(30);
    ASSERT_EQ(Show(SpecialPartition(v, false).Split(text, false)), Show(Naive(v, text))) << text;
  }
}

}  // namespace
}  // namespace bantam::tokenizer
