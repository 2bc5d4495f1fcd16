// WordPiece and the unigram model on vocabularies small enough to work out by hand.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "tests/tokenizer/vocab.h"

namespace bantam::tokenizer {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr EncodeOptions kPlain = {false, false};

TinyVocab WordPiece() {
  TinyVocab v("bert");
  for (const char* special : {"[PAD]", "[UNK]", "[CLS]", "[SEP]"}) {
    v.Add(special, TokenKind::kControl);
  }
  for (const char* text : {"▁un", "▁unable", "able", "▁cafe", "▁!", "▁中", "s"}) v.Add(text);
  return v;
}

TEST(WordPiece, TakesTheLongestFromTheLeft) {
  const Loaded t(WordPiece().Serialize());
  ASSERT_TRUE(t.ok()) << t.status();
  EXPECT_THAT(t->Encode("unables", kPlain), ElementsAre(5, 10));
  EXPECT_THAT(t->Encode("UNable  un", kPlain), ElementsAre(5, 4));
  // One letter that no token spells makes the whole word unknown.
  EXPECT_THAT(t->Encode("unablex un", kPlain), ElementsAre(1, 4));
  EXPECT_THAT(t->Encode("un", {true, false}), ElementsAre(2, 4, 3));
}

TEST(WordPiece, DropsAccentsAndSetsSignsApart) {
  const Loaded t(WordPiece().Serialize());
  ASSERT_TRUE(t.ok()) << t.status();
  EXPECT_THAT(t->Encode("Café!中un", kPlain), ElementsAre(7, 8, 9, 4));
  EXPECT_THAT(t->Encode("cafe\xCC\x81", kPlain), ElementsAre(7));          // combining accent
  EXPECT_THAT(t->Encode(std::string("u\0n", 3), kPlain), ElementsAre(4));  // control characters
  EXPECT_THAT(t->Encode("\xFF", kPlain), ElementsAre());
  TinyVocab cased = WordPiece();
  cased.Set("tokenizer.ggml.normalizer.lowercase", false);
  const Loaded exact(cased.Serialize());
  EXPECT_THAT(exact->Encode("Un café", kPlain), ElementsAre(1, 1));
}

// u32 size of the trie, its units, replacements. `byte` alone becomes what starts at `replacement`.
std::string Charsmap(unsigned char byte, uint32_t replacement, absl::string_view replacements) {
  // The root's offset 256 keeps its child at 256 ^ byte; that one's offset 256 keeps the leaf,
  // which is its child by byte 0, at byte.
  std::vector<uint32_t> units(512, 0);
  units[0] = 256u << 10;
  units[256 ^ byte] = 256u << 10 | 1u << 8 | byte;
  units[byte] = 1u << 31 | replacement;
  std::string bytes(4 + units.size() * 4, '\0');
  const auto size = static_cast<uint32_t>(units.size() * 4);
  std::memcpy(bytes.data(), &size, 4);
  std::memcpy(bytes.data() + 4, units.data(), size);
  return bytes + std::string(replacements);
}

TinyVocab Unigram() {
  TinyVocab v("t5");
  v.Add("<pad>", TokenKind::kControl);
  v.Add("</s>", TokenKind::kControl);
  v.Add("<unk>", TokenKind::kUnknown);
  const std::pair<const char*, float> tokens[] = {{"▁", -3},  {"a", -4},   {"b", -4},
                                                  {"▁a", -5}, {"ab", -5},  {"▁ab", -9.5},
                                                  {"aa", -9}, {"bb", -8.5}};
  for (const auto& [text, score] : tokens) v.Add(text, TokenKind::kNormal, score);
  v.Set("tokenizer.ggml.add_space_prefix", true);
  v.Set("tokenizer.ggml.remove_extra_whitespaces", true);
  return v;
}

Loaded WithCharsmap(std::string& bytes) {
  TinyVocab v = Unigram();
  gguf::MetaArray array;
  array.element = gguf::MetaType::kUint8;
  array.count = bytes.size();
  array.raw = std::as_bytes(std::span(bytes.data(), bytes.size()));
  v.Set("tokenizer.ggml.precompiled_charsmap", std::make_shared<const gguf::MetaArray>(array));
  return Loaded(v.Serialize());
}

TEST(Unigram, TakesTheBestSumOfScores) {
  const Loaded t(Unigram().Serialize());
  ASSERT_TRUE(t.ok()) << t.status();
  // ▁ab: -9.5; ▁ + ab: -8; ▁a + b: -9.
  EXPECT_THAT(t->Encode("ab", kPlain), ElementsAre(3, 7));
  // ▁a + a: -9; ▁ + aa: -12.
  EXPECT_THAT(t->Encode("aa", kPlain), ElementsAre(6, 4));
  EXPECT_THAT(t->Encode("  a   b ", kPlain), ElementsAre(6, 3, 5));
  EXPECT_THAT(t->Encode("a", {true, false}), ElementsAre(6, 1));
  EXPECT_THAT(t->Encode("", kPlain), ElementsAre());
  EXPECT_EQ(t->Decode(t->Encode("ab a", kPlain)), "ab a");
}

TEST(Unigram, NeighbouringUnknownCharactersAreOneToken) {
  const Loaded t(Unigram().Serialize());
  ASSERT_TRUE(t.ok()) << t.status();
  EXPECT_THAT(t->Encode("éxa", kPlain), ElementsAre(3, 2, 4));
}

TEST(Unigram, RewritesByTheCharsmap) {
  std::string map = Charsmap('Q', 2, std::string("?\0ab\0", 5));
  const Loaded t = WithCharsmap(map);
  ASSERT_TRUE(t.ok()) << t.status();
  EXPECT_THAT(t->Encode("Q", kPlain), ElementsAre(3, 7));
}

TEST(Unigram, DamagedCharsmapsAreRefusedOrHarmless) {
  std::string whole = Charsmap('Q', 2, std::string("?\0ab\0", 5));
  for (size_t size : {size_t{1}, size_t{3}, size_t{4}, size_t{2000}}) {
    std::string cut = whole.substr(0, size);
    EXPECT_THAT(std::string(WithCharsmap(cut).status().message()),
                HasSubstr("precompiled_charsmap"))
        << size;
  }
  // Replacements outside the table, units that lead outside the trie, no 0 at the end.
  for (size_t at = 4; at < 4 + 512 * 4; at += 3) {
    std::string bad = whole;
    bad[at] = static_cast<char>(0xFF);
    const Loaded t = WithCharsmap(bad);
    ASSERT_TRUE(t.ok()) << t.status();
    t->Encode("QQ aQ\xFF", kPlain);
  }
  std::string open = Charsmap('Q', 1, "xab");
  const Loaded t = WithCharsmap(open);
  ASSERT_TRUE(t.ok()) << t.status();
  EXPECT_THAT(t->Encode("Q", kPlain), ElementsAre(3, 7));
}

}  // namespace
}  // namespace bantam::tokenizer
