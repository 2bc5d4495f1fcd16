// SentencePiece's unigram language model, tokenizer.ggml.model = "t5": T5 and the encoders that
// share XLM-RoBERTa's vocabulary.
//
// A text is rewritten (charsmap.h), runs of spaces become one U+2581, and of all ways to cut it to
// tokens the one with the highest sum of scores is taken, found by Viterbi's algorithm. A character
// that no token spells is unknown, at a score below all others.
// Source: Kudo, "Subword Regularization", 2018.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/tokenizer/charsmap.h"
#include "runtime/tokenizer/tokenizer.h"

namespace bantam::tokenizer {

class UnigramTokenizer final : public Tokenizer {
 public:
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromGguf(const gguf::File& file);

  std::string TokenBytes(TokenId id, bool render_special) const override;

 protected:
  void EncodeFragments(std::span<const Fragment> fragments,
                       std::vector<TokenId>& out) const override;

 private:
  // The trie of all tokens. The children of a node lie side by side, by increasing byte.
  struct Node {
    uint32_t first_child = 0;
    uint16_t children = 0;
    uint8_t byte = 0;          // that leads here
    TokenId token = kNoToken;  // spelled by the way here
  };
  // The best way to the end of each prefix.
  struct Step {
    double score;
    size_t begin;  // of its last token
    TokenId token;
  };

  UnigramTokenizer(Vocabulary vocabulary, std::vector<float> scores, Charsmap charsmap,
                   bool merge_spaces);
  void BuildTrie();
  const Node* Child(const Node& node, char byte) const;
  void Rewrite(absl::string_view text, std::string& out) const;
  void EncodeText(absl::string_view text, std::vector<Step>& steps,
                  std::vector<TokenId>& out) const;

  std::vector<double> scores_;
  const Charsmap charsmap_;
  const bool merge_spaces_;
  double unknown_score_ = 0;
  std::vector<Node> nodes_;               // the root first
  std::array<const Node*, 256> first_{};  // children of the root by byte
};

}  // namespace bantam::tokenizer
