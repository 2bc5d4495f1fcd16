// Token ids against llama.cpp's, over the vocabularies of real models.
#include "tests/support/golden.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <sstream>

#include "absl/strings/escaping.h"
#include "absl/strings/str_replace.h"
#include "runtime/tokenizer/tokenizer.h"
#include "tests/support/tiny_model.h"

namespace bantam::tokenizer {
namespace {

struct Case {
  const char* name;       // of tests/golden/tokenizer/<name>.ids
  std::string file;       // among the fetched models
  bool has_pairs = true;  // <file>.inp and <file>.out
  bool lossy = false;     // the text can't be had back
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

std::string Slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

uint64_t Fnv1a(uint64_t hash, const void* data, size_t size) {
  for (size_t i = 0; i < size; ++i) {
    hash = (hash ^ static_cast<const uint8_t*>(data)[i]) * 0x100000001B3u;
  }
  return hash;
}

uint64_t HashPieces(const Tokenizer& tokenizer, bool special) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (TokenId id = 0; id < tokenizer.size(); ++id) {
    const std::string bytes = tokenizer.TokenBytes(id, special);
    const auto n = static_cast<int32_t>(bytes.size());
    hash = Fnv1a(hash, &n, sizeof n);
    hash = Fnv1a(hash, bytes.data(), bytes.size());
  }
  return hash;
}

// Reads what make.c writes.
class GoldenReader {
 public:
  explicit GoldenReader(std::vector<uint8_t> bytes) : bytes_(std::move(bytes)) {}

  uint64_t Fixed64() {
    uint64_t value = 0;
    if (at_ + sizeof value <= bytes_.size()) std::memcpy(&value, bytes_.data() + at_, sizeof value);
    at_ += sizeof value;
    return value;
  }
  uint64_t Varint() {
    uint64_t value = 0;
    for (int shift = 0; at_ < bytes_.size(); shift += 7) {
      const uint8_t b = bytes_[at_++];
      value |= static_cast<uint64_t>(b & 0x7F) << shift;
      if (b < 0x80) break;
    }
    return value;
  }
  std::vector<TokenId> Ids() {
    std::vector<TokenId> ids(Varint());
    for (TokenId& id : ids) id = static_cast<TokenId>(Varint());
    return ids;
  }
  bool AtEnd() const { return at_ == bytes_.size(); }

 private:
  std::vector<uint8_t> bytes_;
  size_t at_ = 0;
};

std::vector<std::string> Corpus() {
  const std::vector<char> bytes = testing::ReadGolden<char>("tokenizer/corpus.bin");
  std::vector<std::string> texts;
  for (size_t at = 0; at + 4 <= bytes.size();) {
    uint32_t size;
    std::memcpy(&size, bytes.data() + at, 4);
    texts.emplace_back(bytes.data() + at + 4, size);
    at += 4 + size;
  }
  return texts;
}

class Golden : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    path_ = testing::FetchedModel(GetParam().file);
    if (path_.empty()) {
      GTEST_SKIP() << GetParam().file
                   << " is not there: run tests/models/fetch.sh and tests/models/fetch_vocabs.sh";
    }
    auto file = gguf::File::Open(path_);
    ASSERT_TRUE(file.ok()) << file.status();
    file_ = *std::move(file);
    auto tokenizer = Tokenizer::FromGguf(*file_);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = *std::move(tokenizer);
  }

  std::string path_;
  std::unique_ptr<gguf::File> file_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_P(Golden, EqualsLlamaCpp) {
  GoldenReader golden(
      testing::ReadGolden<uint8_t>(absl::StrCat("tokenizer/", GetParam().name, ".ids")));
  EXPECT_EQ(HashPieces(*tokenizer_, false), golden.Fixed64()) << "bytes of tokens";
  EXPECT_EQ(HashPieces(*tokenizer_, true), golden.Fixed64()) << "bytes with special tokens";
  const SpecialTokens& special = tokenizer_->special();
  EXPECT_EQ(special.bos, static_cast<TokenId>(golden.Varint()) - 1);
  EXPECT_EQ(special.eos, static_cast<TokenId>(golden.Varint()) - 1);
  EXPECT_EQ(special.add_bos, golden.Varint() != 0);
  EXPECT_EQ(special.add_eos, golden.Varint() != 0);
  std::vector<TokenId> ends;
  for (TokenId id = 0; id < tokenizer_->size(); ++id) {
    if (tokenizer_->IsEndOfGeneration(id)) ends.push_back(id);
  }
  EXPECT_EQ(ends, golden.Ids());
  for (const std::string& text : Corpus()) {
    EXPECT_EQ(tokenizer_->Encode(text, {false, false}), golden.Ids()) << absl::CHexEscape(text);
    EXPECT_EQ(tokenizer_->Encode(text, {true, true}), golden.Ids())
        << "with special tokens: " << absl::CHexEscape(text);
  }
  EXPECT_TRUE(golden.AtEnd());
}

// The pairs that come with a vocabulary: texts, and ids by the tokenizer the model was made with.
TEST_P(Golden, EqualsThePublishedTokenizer) {
  if (!GetParam().has_pairs) return;
  const std::string in = Slurp(path_ + ".inp");
  std::istringstream lines(Slurp(path_ + ".out"));
  const std::string separator = "\n__ggml_vocab_test__\n";
  std::string line;
  size_t texts = 0;
  // One file has no separator after its last text.
  for (size_t at = 0, end; at < in.size(); at = end + separator.size(), ++texts) {
    end = std::min(in.find(separator, at), in.size());
    const std::string text = in.substr(at, end - at);
    ASSERT_TRUE(std::getline(lines, line));
    std::istringstream numbers(line);
    const std::vector<TokenId> want{std::istream_iterator<TokenId>(numbers), {}};
    const std::vector<TokenId> got = tokenizer_->Encode(text, {false, false});
    EXPECT_EQ(got, want) << absl::CHexEscape(text);
    if (!GetParam().lossy) {
      EXPECT_EQ(tokenizer_->Decode(got), text);
    }
  }
  EXPECT_GE(texts, 46u);
}

Case Vocab(const char* name, bool has_pairs = true, bool lossy = false) {
  return {name, absl::StrCat("vocab/ggml-vocab-", name, ".gguf"), has_pairs, lossy};
}

INSTANTIATE_TEST_SUITE_P(
    Vocabularies, Golden,
    ::testing::Values(Case{"smollm2", testing::kSmolLm2, false}, Vocab("gpt-2"), Vocab("llama-bpe"),
                      Vocab("qwen2"), Vocab("qwen35"), Vocab("gemma-4"), Vocab("llama-spm"),
                      Vocab("phi-3"), Vocab("baichuan", false), Vocab("falcon"), Vocab("command-r"),
                      Vocab("starcoder"), Vocab("refact"), Vocab("deepseek-llm"),
                      Vocab("deepseek-coder"), Vocab("mpt"), Vocab("aquila", false),
                      Vocab("gpt-neox", false), Vocab("bert-bge", true, true),
                      Vocab("nomic-bert-moe", false)),
    [](const ::testing::TestParamInfo<Case>& info) {
      return absl::StrReplaceAll(info.param.name, {{"-", "_"}});
    });

}  // namespace
}  // namespace bantam::tokenizer
