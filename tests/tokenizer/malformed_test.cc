// Vocabularies that are wrong: an error that says what, or a tokenizer that works.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "tests/tokenizer/vocab.h"

namespace bantam::tokenizer {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TinyVocab Bpe(absl::string_view pre = "llama-bpe") {
  TinyVocab vocab("gpt2", pre);
  vocab.AddBytes();
  vocab.AddMerge("a", "b");
  vocab.AddMerge("ab", "Ġ");
  vocab.Add("<|eot_id|>", TokenKind::kControl);
  vocab.Add("  ", TokenKind::kUserDefined);
  vocab.Set("tokenizer.ggml.bos_token_id", uint32_t{258});
  return vocab;
}

TinyVocab Spm() {
  TinyVocab vocab("llama");
  vocab.Add("<unk>", TokenKind::kUnknown);
  vocab.Add("<s>", TokenKind::kControl);
  vocab.Add("</s>", TokenKind::kControl);
  vocab.AddByteTokens();
  for (const char* text : {"▁", "a", "b", "ab", "▁ab", "é"}) {
    vocab.Add(text, TokenKind::kNormal, -1.5f);
  }
  return vocab;
}

void ExpectError(const std::string& bytes, absl::StatusCode code, const std::string& part) {
  const Loaded t(bytes);
  EXPECT_EQ(t.status().code(), code) << t.status();
  EXPECT_THAT(std::string(t.status().message()),
              AllOf(HasSubstr("test.gguf"), HasSubstr(part), Not(HasSubstr("\n"))));
}

void ExpectInvalid(const std::string& bytes, const std::string& part) {
  ExpectError(bytes, absl::StatusCode::kInvalidArgument, part);
}

TEST(Malformed, UnsupportedIsNamed) {
  for (const char* model : {"rwkv", "plamo2"}) {
    ExpectError(TinyVocab(model).Serialize(), absl::StatusCode::kUnimplemented, model);
  }
  ExpectError(Bpe("kimi-k2").Serialize(), absl::StatusCode::kUnimplemented, "kimi-k2");
  ExpectError(Bpe("two\nlines").Serialize(), absl::StatusCode::kUnimplemented, "two");
}

TEST(Malformed, MissingArrays) {
  ExpectInvalid(Bpe().Serialize("tokens"), "tokenizer.ggml.tokens");
  ExpectInvalid(Bpe().Serialize("merges"), "tokenizer.ggml.merges");
  ExpectInvalid(Spm().Serialize("scores"), "tokenizer.ggml.scores");
  EXPECT_TRUE(Bpe().Serialize("token_type").size() > 0 &&
              Loaded(Bpe().Serialize("token_type")).ok());
  gguf::Writer empty;
  ExpectInvalid(*empty.Serialize(), "tokenizer.ggml.model");
}

TEST(Malformed, EmptyVocabulary) {
  ExpectInvalid(TinyVocab("gpt2").Serialize(), "tokenizer.ggml.tokens is empty");
}

TEST(Malformed, TokenTwice) {
  TinyVocab vocab = Bpe();
  vocab.Add("ab");
  ExpectInvalid(vocab.Serialize(), "tokens 256 and 260");
}

TEST(Malformed, EmptyTokensDecodeToNothing) {
  TinyVocab vocab = Bpe();
  vocab.Add("");
  const TokenId id = vocab.Add("", TokenKind::kControl);
  const Loaded t(vocab.Serialize());
  ASSERT_TRUE(t.ok()) << t.status();
  EXPECT_EQ(t->TokenBytes(id, true), "");
  EXPECT_EQ(t->Decode(t->Encode("abc", {false, true})), "abc");
}

TEST(Malformed, TokenIsNotUtf8) {
  TinyVocab vocab = Bpe();
  vocab.Add("a\xFF");
  ExpectInvalid(vocab.Serialize(), "token 260");
}

TEST(Malformed, KindsOfAnotherLengthOrValue) {
  TinyVocab shorter = Bpe();
  shorter.kinds().pop_back();
  ExpectInvalid(shorter.Serialize(), "has 259 entries, expected 260");
  for (const int32_t kind : {-1, 7, 1 << 30}) {
    TinyVocab vocab = Bpe();
    vocab.kinds()[3] = kind;
    ExpectInvalid(vocab.Serialize(), "of token 3");
  }
}

TEST(Malformed, Scores) {
  TinyVocab shorter = Spm();
  shorter.scores().pop_back();
  ExpectInvalid(shorter.Serialize(), "tokenizer.ggml.scores");
  TinyVocab nan = Spm();
  nan.scores()[5] = std::nanf("");
  ExpectInvalid(nan.Serialize(), "token 5 is NaN");
  TinyVocab infinite = Spm();
  infinite.scores()[260] = INFINITY;
  infinite.scores()[261] = -INFINITY;
  EXPECT_TRUE(Loaded(infinite.Serialize()).ok());
}

TEST(Malformed, ByteTokenWithAnotherText) {
  for (const char* text : {"<0x0G>", "<0x1>", "0x0A", "<0x0A", "byte"}) {
    TinyVocab vocab = Spm();
    vocab.Add(text, TokenKind::kByte);
    ExpectInvalid(vocab.Serialize(), "token 265");
  }
}

TEST(Malformed, Merges) {
  for (const char* line : {"", "a", "ab", " ", "a ", " b"}) {
    TinyVocab vocab = Bpe();
    vocab.AddLine(line);
    ExpectInvalid(vocab.Serialize(), "entry 2");
  }
}

TEST(Malformed, SpecialIdsOutsideTheVocabulary) {
  for (const char* key : {"bos", "eos", "eot", "eom", "unknown", "fim_pad"}) {
    TinyVocab vocab = Bpe();
    vocab.Set(absl::StrCat("tokenizer.ggml.", key, "_token_id"), uint32_t{260});
    ExpectInvalid(vocab.Serialize(), absl::StrCat(key, "_token_id is 260"));
  }
  TinyVocab text = Bpe();
  text.Set("tokenizer.ggml.eos_token_id", absl::string_view("</s>"));
  ExpectInvalid(text.Serialize(), "eos_token_id");
}

TEST(Malformed, AddBosWithoutABosAddsNone) {
  TinyVocab vocab("gpt2", "gpt-2");
  vocab.AddBytes();
  vocab.Set("tokenizer.ggml.add_bos_token", true);
  const Loaded t(vocab.Serialize());
  ASSERT_TRUE(t.ok()) << t.status();
  EXPECT_FALSE(t->special().add_bos);
  EXPECT_EQ(t->Encode("a", {}).size(), 1u);
}

// Bytes of valid files changed at random. Under the sanitizers this finds reads out of bounds.
TEST(Malformed, Mutations) {
  const std::string seeds[] = {Bpe().Serialize(), Bpe("smollm").Serialize(), Spm().Serialize()};
  constexpr char kText[] = "ab ab  <|eot_id|></s>é\xFF\0x 123\n";
  const std::string text(kText, sizeof kText - 1);
  std::mt19937 random(11);
  int loaded = 0;
  for (int round = 0; round < 6000; ++round) {
    std::string bytes = seeds[round % 3];
    for (unsigned n = 1 + random() % 3; n > 0; --n) {
      // Half of them near the start, where the keys and lengths are.
      const size_t range = random() % 2 == 0 ? bytes.size() : std::min<size_t>(bytes.size(), 400);
      bytes[random() % range] = static_cast<char>(random() % 4 == 0 ? 0xFF : random());
    }
    const Loaded t(std::move(bytes));
    if (!t.ok()) continue;
    ++loaded;
    for (const EncodeOptions options : {EncodeOptions{true, true}, EncodeOptions{false, false}}) {
      for (const TokenId id : t->Encode(text, options)) {
        ASSERT_GE(id, 0);
        ASSERT_LT(id, t->size());
      }
    }
    StreamDecoder decoder(*t, true);
    for (TokenId id = 0; id < t->size(); ++id) decoder.Push(id);
  }
  EXPECT_GT(loaded, 100);  // or nothing was tested
}

}  // namespace
}  // namespace bantam::tokenizer
