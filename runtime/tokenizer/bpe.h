// Byte-level byte-pair encoding, tokenizer.ggml.model = "gpt2".
//
// Text is cut into words (Splitter); the bytes of each word are the first symbols, merged in the
// order of tokenizer.ggml.merges. Vocabulary and merges spell each byte as a printable character.
// Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, section
// 2.2, and its published encoder.
#pragma once

#include <array>
#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "runtime/tokenizer/merge_rules.h"
#include "runtime/tokenizer/splitter.h"
#include "runtime/tokenizer/tokenizer.h"

namespace bantam::tokenizer {

class BpeTokenizer final : public Tokenizer {
 public:
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromGguf(const gguf::File& file);

  std::string TokenBytes(TokenId id, bool render_special) const override;

 protected:
  void EncodeFragments(std::span<const Fragment> fragments,
                       std::vector<TokenId>& out) const override;

 private:
  // The bytes of every token, for models that ignore merges.
  struct WholeWords {
    std::string bytes;
    absl::flat_hash_map<absl::string_view, TokenId> ids;  // into `bytes`
  };

  BpeTokenizer(Vocabulary vocabulary, Splitter splitter, MergeRules rules,
               std::unique_ptr<WholeWords> whole_words);

  static std::unique_ptr<WholeWords> CollectWholeWords(const Vocabulary& v);

  void EncodeWord(absl::string_view word, Merger& merger, std::vector<TokenId>& out) const;

  Splitter splitter_;
  MergeRules rules_;
  std::array<int32_t, 256> byte_symbols_;    // -1: in no token and no merge
  std::unique_ptr<WholeWords> whole_words_;  // null where merges count
};

}  // namespace bantam::tokenizer
