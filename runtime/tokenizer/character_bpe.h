// Byte-pair encoding of characters, tokenizer.ggml.model = "gemma4".
//
// Spaces become U+2581. The characters of a line are the first symbols, merged in the order of
// tokenizer.ggml.merges; lines are not cut into words. A run of newlines that is a token is that
// token. What ends as no token is spelled in bytes, <0x00> to <0xFF>.
#pragma once

#include <array>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "runtime/tokenizer/merge_rules.h"
#include "runtime/tokenizer/tokenizer.h"

namespace bantam::tokenizer {

class CharacterBpeTokenizer final : public Tokenizer {
 public:
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromGguf(const gguf::File& file);

  std::string TokenBytes(TokenId id, bool render_special) const override;

 protected:
  void EncodeFragments(std::span<const Fragment> fragments,
                       std::vector<TokenId>& out) const override;

 private:
  CharacterBpeTokenizer(Vocabulary vocabulary, MergeRules rules);
  void EncodeLine(absl::string_view line, Merger& merger, std::vector<TokenId>& out) const;

  MergeRules rules_;
  std::array<TokenId, 256> byte_tokens_;  // kNoToken where the vocabulary has none
};

}  // namespace bantam::tokenizer
