// What the grammar tests share.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "runtime/gguf/file.h"
#include "runtime/grammar/matcher.h"
#include "tests/support/tiny_model.h"

namespace bantam::grammar {

// The vocabulary of the tiny models: all bytes, "th", "the", "in", " the", "an".
struct TinyVocabulary {
  TinyVocabulary() {
    testing::WriteTinyLlama(folder.File("model.gguf"), {.layers = 1, .embedding = 32, .heads = 2});
    file = *gguf::File::Open(folder.File("model.gguf"));
    tokenizer = *tokenizer::Tokenizer::FromGguf(*file);
    trie = std::make_shared<TokenTrie>(*tokenizer, tokenizer->size());
  }
  static const TinyVocabulary& Get() {
    static const TinyVocabulary vocabulary;
    return vocabulary;
  }

  testing::TempDir folder;
  std::unique_ptr<gguf::File> file;
  std::unique_ptr<tokenizer::Tokenizer> tokenizer;
  std::shared_ptr<const TokenTrie> trie;
};

inline std::shared_ptr<const Grammar> Compile(absl::string_view text) {
  auto grammar = Grammar::FromGbnf(text, TinyVocabulary::Get().tokenizer.get());
  EXPECT_TRUE(grammar.ok()) << grammar.status() << "\n" << text;
  return grammar.ok() ? *std::move(grammar) : nullptr;
}

inline Matcher Match(std::shared_ptr<const Grammar> grammar) {
  return Matcher(std::move(grammar), TinyVocabulary::Get().trie);
}

inline bool Accepts(const std::shared_ptr<const Grammar>& grammar, absl::string_view text) {
  Matcher matcher = Match(grammar);
  return matcher.AcceptText(text) && matcher.MayEnd();
}

inline bool Allows(std::span<const uint64_t> mask, int64_t token) {
  return (mask[token / 64] >> (token % 64)) & 1;
}

}  // namespace bantam::grammar
