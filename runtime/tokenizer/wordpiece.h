// WordPiece, tokenizer.ggml.model = "bert".
//
// A text is cleaned (control characters dropped; in most models lower case, accents dropped) and
// cut to words at spaces, punctuation and Han characters. A word, written with U+2581 before it, is
// cut from the left to the longest tokens there are; where there is none, the whole word is
// unknown. Source: Devlin et al., "BERT", 2018, and its published tokenizer.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/tokenizer/tokenizer.h"

namespace bantam::tokenizer {

class WordPieceTokenizer final : public Tokenizer {
 public:
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromGguf(const gguf::File& file);

  std::string TokenBytes(TokenId id, bool render_special) const override;

 protected:
  void EncodeFragments(std::span<const Fragment> fragments,
                       std::vector<TokenId>& out) const override;

 private:
  struct Rules {
    bool lowercase = true;
    bool strip_accents = true;
  };
  WordPieceTokenizer(Vocabulary vocabulary, const Rules& rules);

  // Appends the words of a text, each with U+2581 before it, and where each ends.
  void AppendWords(absl::string_view text, std::string& words, std::vector<size_t>& ends) const;
  void EncodeWord(absl::string_view word, std::vector<TokenId>& out) const;

  const Rules rules_;
  size_t longest_ = 0;  // token, in bytes
};

}  // namespace bantam::tokenizer
