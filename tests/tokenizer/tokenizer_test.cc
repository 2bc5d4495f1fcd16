// The algorithms on small vocabularies, some against a plain statement of the same rule.
#include "runtime/tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <random>
#include <thread>

#include "tests/tokenizer/vocab.h"

namespace bantam::tokenizer {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr EncodeOptions kPlain = {.add_special = false, .parse_special = false};
constexpr EncodeOptions kParse = {.add_special = false, .parse_special = true};

std::vector<std::string> Texts(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  std::vector<std::string> texts;
  for (const TokenId id : ids) texts.emplace_back(tokenizer.text(id));
  return texts;
}

// --- byte-level BPE ---

TEST(Bpe, LowestRankFirstThenLeftmost) {
  TinyVocab vocab("gpt2", "gpt-2");
  vocab.AddBytes();
  vocab.AddMerge("b", "c");
  vocab.AddMerge("a", "b");
  vocab.AddMerge("a", "a");
  const Loaded t(vocab.Serialize());
  ASSERT_TRUE(t.ok()) << t.status();
  EXPECT_THAT(Texts(*t, t->Encode("abc", kPlain)), ElementsAre("a", "bc"));
  EXPECT_THAT(Texts(*t, t->Encode("abx", kPlain)), ElementsAre("ab", "x"));
  EXPECT_THAT(Texts(*t, t->Encode("aaa", kPlain)), ElementsAre("aa", "a"));
}

TEST(Bpe, WordsInTheVocabularyNeedNoMergesWithLlama3) {
  for (const bool ignore_merges : {false, true}) {
    TinyVocab vocab("gpt2", ignore_merges ? "llama-bpe" : "gpt-2");
    vocab.AddBytes();
    vocab.Add("Ġhello");
    vocab.Add("hell");
    const Loaded t(vocab.Serialize());
    ASSERT_TRUE(t.ok()) << t.status();
    const size_t tokens = ignore_merges ? 1 : 6;
    EXPECT_EQ(t->Encode(" hello", kPlain).size(), tokens);
    EXPECT_EQ(t->Encode("hello", kPlain).size(), 5u);
  }
}

TEST(Bpe, EqualsRepeatedBestMerge) {
  std::mt19937 random(5);
  for (int round = 0; round < 200; ++round) {
    TinyVocab vocab("gpt2", "gpt-2");
    vocab.AddBytes();
    std::vector<std::string> symbols = {"a", "b", "c"};
    std::map<std::pair<std::string, std::string>, int> ranks;
    std::map<std::string, bool> in_vocab;
    for (int i = 0; i < 12; ++i) {
      const std::string left = symbols[random() % symbols.size()];
      const std::string right = symbols[random() % symbols.size()];
      if (!ranks.try_emplace({left, right}, static_cast<int>(ranks.size())).second) continue;
      if (in_vocab[left + right]) {
        vocab.AddLine(left + " " + right);
      } else {
        vocab.AddMerge(left, right);
        in_vocab[left + right] = true;
        symbols.push_back(left + right);
      }
    }
    const Loaded t(vocab.Serialize());
    ASSERT_TRUE(t.ok()) << t.status();
    for (int k = 0; k < 20; ++k) {
      std::string word(1 + random() % 30, ' ');
      for (char& c : word) c = static_cast<char>('a' + random() % 3);
      std::vector<std::string> want;
      for (const char c : word) want.push_back({c});
      while (true) {
        int best = std::numeric_limits<int>::max();
        size_t at = 0;
        for (size_t i = 0; i + 1 < want.size(); ++i) {
          const auto it = ranks.find({want[i], want[i + 1]});
          if (it != ranks.end() && it->second < best) best = it->second, at = i;
        }
        if (best == std::numeric_limits<int>::max()) break;
        want[at] += want[at + 1];
        want.erase(want.begin() + static_cast<ptrdiff_t>(at) + 1);
      }
      ASSERT_EQ(Texts(*t, t->Encode(word, kPlain)), want) << word;
    }
  }
}

TEST(Bpe, EveryByteComesBack) {
  TinyVocab vocab("gpt2", "gpt-2");
  vocab.AddBytes();
  const Loaded t(vocab.Serialize());
  ASSERT_TRUE(t.ok()) << t.status();
  for (int b = 0; b < 256; ++b) {
    EXPECT_EQ(t->TokenBytes(b), std::string(1, static_cast<char>(b)));
  }
  constexpr char kText[] = "\0 \x01\x7F é你😀\n\xEF\xBF\xBD";
  const std::string text(kText, sizeof kText - 1);
  EXPECT_EQ(t->Decode(t->Encode(text, kPlain)), text);
  EXPECT_EQ(t->Decode(t->Encode("a\xFF\xC3", kPlain)), "a\uFFFD\uFFFD");
}

TEST(Bpe, MergeThatIsNoTokenFallsBackToBytes) {
  TinyVocab vocab("gpt2", "gpt-2");
  vocab.AddBytes();
  vocab.AddLine("a b");
  vocab.AddLine("ab Ġ");  // never used: no word has a space there
  const Loaded t(vocab.Serialize());
  ASSERT_TRUE(t.ok()) << t.status();
  EXPECT_THAT(t->Encode("abc", kPlain), ElementsAre('a', 'b', 'c'));
}

TEST(Bpe, BytesWithoutATokenAreLeftOut) {
  TinyVocab vocab("gpt2", "gpt-2");
  vocab.Add("a");
  const Loaded t(vocab.Serialize());
  ASSERT_TRUE(t.ok()) << t.status();
  EXPECT_THAT(t->Encode("xay", kPlain), ElementsAre(0));
}

TEST(Bpe, LongRunsOfOneCharacter) {
  TinyVocab vocab("gpt2", "llama-bpe");
  vocab.AddBytes();
  std::string run = "a", spaces = "Ġ";
  for (int i = 0; i < 4; ++i) {
    vocab.AddMerge(run, run);
    vocab.AddMerge(spaces, spaces);
    run += run;
    spaces += spaces;
  }
  const Loaded t(vocab.Serialize());
  ASSERT_TRUE(t.ok()) << t.status();
  const size_t n = 1 << 18;  // anything quadratic would never end
  EXPECT_EQ(t->Encode(std::string(n, 'a'), kPlain).size(), n / 16);
  EXPECT_EQ(t->Encode(std::string(n, ' '), kPlain).size(), n / 16);
}

TEST(Bpe, EncodesFromManyThreads) {
  TinyVocab vocab("gpt2", "llama-bpe");
  vocab.AddBytes();
  vocab.AddMerge("t", "h");
  vocab.AddMerge("th", "e");
  const Loaded t(vocab.Serialize());
  ASSERT_TRUE(t.ok()) << t.status();
  std::string text;
  for (int i = 0; i < 200; ++i) text += "the other " + std::to_string(i);
  const std::vector<TokenId> want = t->Encode(text, kPlain);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 20; ++k) EXPECT_EQ(t->Encode(text, kPlain), want);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// --- SentencePiece ---

TinyVocab SmallSentencePiece() {
  TinyVocab vocab("llama");
  vocab.Add("<unk>", TokenKind::kUnknown);
  vocab.Add("<s>", TokenKind::kControl);
  vocab.Add("</s>", TokenKind::kControl);
  vocab.AddByteTokens();
  vocab.Add("▁", TokenKind::kNormal, -10);
  vocab.Add("a", TokenKind::kNormal, -11);
  vocab.Add("b", TokenKind::kNormal, -12);
  vocab.Add("ab", TokenKind::kNormal, -2);
  vocab.Add("ba", TokenKind::kNormal, -1);
  vocab.Add("▁a", TokenKind::kNormal, -3);
  vocab.Add("é", TokenKind::kNormal, -13);
  return vocab;
}

TEST(SentencePiece, HighestScoreFirst) {
  const Loaded t(SmallSentencePiece().Serialize());
  ASSERT_TRUE(t.ok()) << t.status();
  EXPECT_THAT(Texts(*t, t->Encode("aba", kPlain)), ElementsAre("▁a", "ba"));
  EXPECT_THAT(Texts(*t, t->Encode("ab a", kPlain)), ElementsAre("▁", "ab", "▁a"));
  EXPECT_THAT(Texts(*t, t->Encode("ab", {})), ElementsAre("<s>", "▁", "ab"));
  EXPECT_THAT(Texts(*t, t->Encode("", {})), ElementsAre("<s>"));
  EXPECT_THAT(Texts(*t, t->Encode("", kPlain)), ElementsAre());
}

TEST(SentencePiece, UnknownCharactersBecomeBytes) {
  const Loaded t(SmallSentencePiece().Serialize());
  ASSERT_TRUE(t.ok()) << t.status();
  EXPECT_THAT(Texts(*t, t->Encode("é€", kPlain)),
              ElementsAre("▁", "é", "<0xE2>", "<0x82>", "<0xAC>"));
  EXPECT_THAT(Texts(*t, t->Encode("\xFF\n", kPlain)), ElementsAre("▁", "<0xFF>", "<0x0A>"));
  // A first byte takes what follows with it, as in llama.cpp.
  EXPECT_THAT(Texts(*t, t->Encode("\xC3"
                                  "a",
                                  kPlain)),
              ElementsAre("▁", "<0xC3>", "<0x61>"));
}

TEST(SentencePiece, UnknownTokenWhereThereAreNoBytes) {
  TinyVocab vocab("llama");
  vocab.Add("<unk>", TokenKind::kUnknown);
  vocab.Add("<s>", TokenKind::kControl);
  vocab.Add("</s>", TokenKind::kControl);
  vocab.Add("▁");
  const Loaded t(vocab.Serialize());
  ASSERT_TRUE(t.ok()) << t.status();
  EXPECT_THAT(Texts(*t, t->Encode("x ", kPlain)), ElementsAre("▁", "<unk>", "▁"));
}

TEST(SentencePiece, SpacePrefixAfterSpecialTokens) {
  TinyVocab vocab = SmallSentencePiece();
  vocab.Add("<u>", TokenKind::kUserDefined);
  const Loaded t(vocab.Serialize());
  ASSERT_TRUE(t.ok()) << t.status();
  EXPECT_THAT(Texts(*t, t->Encode("b<u>b</s>b", kPlain)),
              ElementsAre("▁", "b", "<u>", "▁", "b", "<0x3C>", "<0x2F>", "<0x73>", "<0x3E>", "b"));
  EXPECT_THAT(Texts(*t, t->Encode("b</s>b", kParse)), ElementsAre("▁", "b", "</s>", "▁", "b"));

  vocab.Set("tokenizer.ggml.add_space_prefix", false);
  const Loaded without(vocab.Serialize());
  ASSERT_TRUE(without.ok()) << without.status();
  EXPECT_THAT(Texts(*without, without->Encode("b<u>b", kPlain)), ElementsAre("b", "<u>", "b"));
}

TEST(SentencePiece, DecodeTakesBackThePrefix) {
  const Loaded t(SmallSentencePiece().Serialize());
  ASSERT_TRUE(t.ok()) << t.status();
  for (const char* text : {"a b", " a", "  ", "", "\xE2\x82", "é€ x\n"}) {
    EXPECT_EQ(t->Decode(t->Encode(text, kPlain)), text);
  }
  EXPECT_EQ(t->Decode(t->Encode("a", {})), " a");
  EXPECT_EQ(t->Decode(t->Encode("a", {}), true), "<s> a");
}

TEST(SentencePiece, EqualsRepeatedBestPair) {
  std::mt19937 random(6);
  for (int round = 0; round < 200; ++round) {
    TinyVocab vocab("llama");
    vocab.Set("tokenizer.ggml.add_space_prefix", false);
    vocab.Add("<unk>", TokenKind::kUnknown);
    vocab.Add("<s>", TokenKind::kControl);
    vocab.Add("</s>", TokenKind::kControl);
    vocab.AddByteTokens();
    std::map<std::string, float> scores;
    const std::string alphabet[] = {"a", "b", "▁", "é"};
    for (int i = 0; i < 14; ++i) {
      std::string text;
      for (unsigned n = 1 + random() % 4; n > 0; --n) text += alphabet[random() % 4];
      const float score = -static_cast<float>(random() % 6);  // ties are wanted
      if (scores.try_emplace(text, score).second) vocab.Add(text, TokenKind::kNormal, score);
    }
    const Loaded t(vocab.Serialize());
    ASSERT_TRUE(t.ok()) << t.status();
    for (int k = 0; k < 20; ++k) {
      std::vector<std::string> symbols;
      std::string text;
      for (unsigned n = 1 + random() % 25; n > 0; --n) {
        symbols.push_back(alphabet[random() % 4]);
        text += symbols.back() == "▁" ? " " : symbols.back();
      }
      while (true) {
        float best = -std::numeric_limits<float>::infinity();
        size_t at = 0;
        for (size_t i = 0; i + 1 < symbols.size(); ++i) {
          const auto it = scores.find(symbols[i] + symbols[i + 1]);
          if (it != scores.end() && it->second > best) best = it->second, at = i;
        }
        if (best == -std::numeric_limits<float>::infinity()) break;
        symbols[at] += symbols[at + 1];
        symbols.erase(symbols.begin() + static_cast<ptrdiff_t>(at) + 1);
      }
      std::vector<std::string> want;
      for (const std::string& symbol : symbols) {
        if (scores.contains(symbol)) {
          want.push_back(symbol);
          continue;
        }
        for (const char b : symbol) {
          want.emplace_back(t->text(3 + static_cast<unsigned char>(b)));
        }
      }
      ASSERT_EQ(Texts(*t, t->Encode(text, kPlain)), want) << text;
    }
  }
}

TEST(SentencePiece, LongRunsOfOneCharacter) {
  TinyVocab vocab = SmallSentencePiece();
  std::string run = "a", spaces = "▁";
  for (int i = 0; i < 4; ++i) {
    run += run;
    spaces += spaces;
    vocab.Add(run, TokenKind::kNormal, -static_cast<float>(i));
    vocab.Add(spaces, TokenKind::kNormal, -static_cast<float>(i));
  }
  const Loaded t(vocab.Serialize());
  ASSERT_TRUE(t.ok()) << t.status();
  const size_t n = 1 << 18;  // anything quadratic would never end
  EXPECT_EQ(t->Encode(std::string(n, ' '), kPlain).size(), n / 16 + 1);
  EXPECT_GE(t->Encode(std::string(n, 'a'), kPlain).size(), n / 16);
}

TEST(SentencePiece, Phi3StripsSpaceAfterSpecialTokens) {
  TinyVocab vocab = SmallSentencePiece();
  vocab.Add("<|end|>", TokenKind::kControl);
  vocab.Set("general.name", absl::string_view("Phi-3 mini"));
  const Loaded t(vocab.Serialize());
  ASSERT_TRUE(t.ok()) << t.status();
  EXPECT_THAT(Texts(*t, t->Encode("<|end|>\n b<s> b", kParse)),
              ElementsAre("<|end|>", "▁", "b", "<s>", "▁", "▁", "b"));
}

// --- special tokens ---

TEST(Special, FromMetadata) {
  TinyVocab vocab("gpt2", "gpt-2");
  vocab.AddBytes();
  vocab.Add("<bos>", TokenKind::kControl);
  vocab.Add("<end>", TokenKind::kControl);
  vocab.Set("tokenizer.ggml.bos_token_id", uint32_t{256});
  vocab.Set("tokenizer.ggml.eos_token_id", uint32_t{257});
  vocab.Set("tokenizer.ggml.padding_token_id", uint32_t{0xFFFFFFFF});
  vocab.Set("tokenizer.ggml.add_bos_token", true);
  vocab.Set("tokenizer.ggml.add_eos_token", true);
  const Loaded t(vocab.Serialize());
  ASSERT_TRUE(t.ok()) << t.status();
  EXPECT_THAT(t->Encode("a", {}), ElementsAre(256, 'a', 257));
  EXPECT_THAT(t->Encode("", {}), ElementsAre(256, 257));
  EXPECT_THAT(t->Encode("a", kPlain), ElementsAre('a'));
  EXPECT_EQ(t->special().pad, kNoToken);
  EXPECT_TRUE(t->IsEndOfGeneration(257));
  EXPECT_FALSE(t->IsEndOfGeneration(256));
  EXPECT_FALSE(t->IsEndOfGeneration(kNoToken));
  EXPECT_EQ(t->TokenBytes(257), "");
  EXPECT_EQ(t->TokenBytes(257, true), "<end>");
}

TEST(Special, ByTextAndMadeControl) {
  TinyVocab vocab("gpt2", "gpt-2");
  vocab.AddBytes();
  const TokenId end = vocab.Add("<|im_end|>");
  const TokenId text = vocab.Add("<|endoftext|>", TokenKind::kUserDefined);
  const TokenId file = vocab.Add("<|file_sep|>", TokenKind::kControl);
  const TokenId prefix = vocab.Add("<|fim_prefix|>");
  const TokenId channel = vocab.Add("<|channel|>", TokenKind::kControl);
  const Loaded t(vocab.Serialize());
  ASSERT_TRUE(t.ok()) << t.status();
  EXPECT_EQ(t->special().eot, end);
  EXPECT_EQ(t->special().bos, kNoToken);
  for (const TokenId id : {end, text, file}) {
    EXPECT_TRUE(t->IsEndOfGeneration(id)) << id;
    EXPECT_EQ(t->kind(id), TokenKind::kControl);
  }
  EXPECT_EQ(t->kind(prefix), TokenKind::kControl);
  EXPECT_FALSE(t->IsEndOfGeneration(prefix));
  EXPECT_EQ(t->kind(channel), TokenKind::kUserDefined);
}

TEST(Special, PartOfAnAnswerDoesNotEndIt) {
  TinyVocab vocab("gpt2", "gpt-4o");
  vocab.AddBytes();
  const TokenId end = vocab.Add("<|end|>", TokenKind::kControl);
  const TokenId last = vocab.Add("<|return|>", TokenKind::kControl);
  vocab.Add("<|call|>", TokenKind::kControl);
  vocab.Set("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(last));
  const Loaded t(vocab.Serialize());
  ASSERT_TRUE(t.ok()) << t.status();
  EXPECT_FALSE(t->IsEndOfGeneration(end));
  EXPECT_TRUE(t->IsEndOfGeneration(last));
}

TEST(Special, IdsOutsideTheVocabularyAreNothing) {
  const Loaded t(SmallSentencePiece().Serialize());
  ASSERT_TRUE(t.ok()) << t.status();
  for (const TokenId id : {-1, -1000, static_cast<TokenId>(t->size()), 1 << 30}) {
    EXPECT_EQ(t->TokenBytes(id, true), "");
    EXPECT_EQ(t->text(id), "");
    EXPECT_EQ(t->kind(id), TokenKind::kUndefined);
  }
  EXPECT_EQ(t->Find("no such token"), kNoToken);
  EXPECT_EQ(t->Find(""), kNoToken);
  EXPECT_EQ(t->text(t->Find("ab")), "ab");
}

// --- streaming ---

TEST(StreamDecoder, WholeCharactersOnly) {
  const Loaded t(SmallSentencePiece().Serialize());
  ASSERT_TRUE(t.ok()) << t.status();
  const auto stream = [&](const std::string& bytes) {
    StreamDecoder decoder(*t);
    std::vector<std::string> out;
    for (const char b : bytes) out.push_back(decoder.Push(3 + static_cast<unsigned char>(b)));
    out.push_back(decoder.Finish());
    return out;
  };
  EXPECT_THAT(stream("a😀b"), ElementsAre("a", "", "", "", "😀", "b", ""));
  EXPECT_THAT(stream("\xF0\x9F\x98"), ElementsAre("", "", "", "\uFFFD"));
  EXPECT_THAT(stream("\xE2\x82z\xFF"), ElementsAre("", "", "\uFFFDz", "\uFFFD", ""));
  EXPECT_THAT(stream("\xC0\x80"), ElementsAre("\uFFFD", "\uFFFD", ""));
  EXPECT_THAT(stream("\xED\xA0\x80"), ElementsAre("", "\uFFFD\uFFFD", "\uFFFD", ""));
}

TEST(StreamDecoder, EqualsRandomTextInTheEnd) {
  const Loaded t(SmallSentencePiece().Serialize());
  ASSERT_TRUE(t.ok()) << t.status();
  std::mt19937 random(9);
  for (int round = 0; round < 200; ++round) {
    std::string text;
    for (int i = 0; i < 20; ++i) {
      const char* parts[] = {"a", "é", "你", "😀", " ", "ab"};
      text += parts[random() % 6];
    }
    StreamDecoder decoder(*t);
    std::string out;
    for (const TokenId id : t->Encode(text, kPlain)) out += decoder.Push(id);
    EXPECT_EQ(out + decoder.Finish(), " " + text);  // a stream goes on from what came before
  }
}

}  // namespace
}  // namespace bantam::tokenizer
