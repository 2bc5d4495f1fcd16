// Small vocabularies, made in memory.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/gguf/writer.h"
#include "runtime/tokenizer/tokenizer.h"

namespace bantam::tokenizer {

// Collects what a GGUF file says about a tokenizer.
class TinyVocab {
 public:
  // tokenizer.ggml.model, and tokenizer.ggml.pre unless that is "".
  explicit TinyVocab(absl::string_view model, absl::string_view pre = "") {
    Set("tokenizer.ggml.model", Keep(model));
    if (!pre.empty()) Set("tokenizer.ggml.pre", Keep(pre));
  }

  TokenId Add(absl::string_view text, TokenKind kind = TokenKind::kNormal, float score = 0) {
    tokens_.push_back(Keep(text));
    kinds_.push_back(static_cast<int32_t>(kind));
    scores_.push_back(score);
    return static_cast<TokenId>(tokens_.size() - 1);
  }
  // A merge, and the token that comes of it.
  TokenId AddMerge(const std::string& left, const std::string& right) {
    merges_.push_back(Keep(left + " " + right));
    return Add(left + right);
  }
  // GPT-2's spelling of all bytes, in order of their values.
  void AddBytes() {
    int next = 256;
    for (int b = 0; b < 256; ++b) {
      const bool plain = (b > 0x20 && b < 0x7F) || (b > 0xA0 && b != 0xAD);
      const int code = plain ? b : next++;
      if (code < 0x80) {
        Add(std::string(1, static_cast<char>(code)));
      } else {
        const char two[] = {static_cast<char>(0xC0 | (code >> 6)),
                            static_cast<char>(0x80 | (code & 0x3F))};
        Add(absl::string_view(two, 2));
      }
    }
  }
  // "<0x00>" to "<0xFF>".
  void AddByteTokens() {
    for (int b = 0; b < 256; ++b) {
      const char* hex = "0123456789ABCDEF";
      Add(std::string("<0x") + hex[b / 16] + hex[b % 16] + ">", TokenKind::kByte);
    }
  }
  void AddLine(absl::string_view merge) { merges_.push_back(Keep(merge)); }
  void Set(absl::string_view key, gguf::MetaValue value) {
    writer_.Set(Keep(key), std::move(value));
  }

  // The file. Arrays that `without` names are left out.
  std::string Serialize(absl::string_view without = "") {
    if (without != "tokens") writer_.SetStrings("tokenizer.ggml.tokens", tokens_);
    if (without != "token_type") writer_.SetInts("tokenizer.ggml.token_type", kinds_);
    if (without != "scores") writer_.SetFloats("tokenizer.ggml.scores", scores_);
    if (without != "merges") writer_.SetStrings("tokenizer.ggml.merges", merges_);
    absl::StatusOr<std::string> bytes = writer_.Serialize();
    EXPECT_TRUE(bytes.ok()) << bytes.status();
    return bytes.ok() ? *bytes : "";
  }

  std::vector<int32_t>& kinds() { return kinds_; }
  std::vector<float>& scores() { return scores_; }

 private:
  absl::string_view Keep(absl::string_view text) { return strings_.emplace_back(text); }

  std::deque<std::string> strings_;
  gguf::Writer writer_;
  std::vector<absl::string_view> tokens_, merges_;
  std::vector<int32_t> kinds_;
  std::vector<float> scores_;
};

// A tokenizer with the file that it points into.
struct Loaded {
  std::string bytes;
  std::unique_ptr<gguf::File> file;
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer;

  explicit Loaded(std::string serialized)
      : bytes(std::move(serialized)), tokenizer(absl::UnknownError("not a GGUF file")) {
    auto parsed = gguf::File::Parse(std::as_bytes(std::span<const char>(bytes)), "test.gguf");
    if (!parsed.ok()) {
      tokenizer = parsed.status();
      return;
    }
    file = *std::move(parsed);
    tokenizer = Tokenizer::FromGguf(*file);
  }
  const Tokenizer* operator->() const { return tokenizer->get(); }
  const Tokenizer& operator*() const { return **tokenizer; }
  bool ok() const { return tokenizer.ok(); }
  absl::Status status() const { return tokenizer.status(); }
};

}  // namespace bantam::tokenizer
