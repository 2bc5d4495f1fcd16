// SentencePiece's byte-pair encoding, tokenizer.ggml.model = "llama".
//
// Spaces are written U+2581; the characters of a text are the first symbols; of all neighbours
// whose text together is a token, those with the highest tokenizer.ggml.scores are merged first.
// What then is no token is given byte by byte ("<0x0A>").
// Source: Kudo and Richardson, "SentencePiece", 2018, and its published encoder.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/tokenizer/merge.h"
#include "runtime/tokenizer/tokenizer.h"

namespace bantam::tokenizer {

class SentencePieceTokenizer final : public Tokenizer {
 public:
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromGguf(const gguf::File& file);

  std::string TokenBytes(TokenId id, bool render_special) const override;

 protected:
  void EncodeFragments(std::span<const Fragment> fragments,
                       std::vector<TokenId>& out) const override;

 private:
  SentencePieceTokenizer(Vocabulary vocabulary, const std::vector<float>& scores, bool strip_after);

  void EncodeText(absl::string_view escaped, Merger& merger, class WordCache& cache,
                  std::vector<TokenId>& out) const;
  void EncodePiece(absl::string_view piece, Merger& merger, std::vector<TokenId>& out) const;

  // Whether any token has symbol `left` next to symbol `right`; sometimes true when none has.
  // Where none has, no merge joins them, so that a text can be cut there.
  bool MayJoin(absl::string_view left, absl::string_view right) const;
  static uint64_t NeighbourHash(absl::string_view left, absl::string_view right);

  std::vector<int32_t> ranks_;              // of each token; 0 has the highest score
  std::array<TokenId, 256> byte_tokens_{};  // kNoToken where there is none
  size_t longest_ = 0;                      // token, in bytes
  std::vector<uint64_t> neighbours_;        // a bit for each hash; a power of two
};

}  // namespace bantam::tokenizer
