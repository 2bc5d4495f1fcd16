// Text to token ids and back, from the vocabulary in a GGUF file.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/gguf/file.h"
#include "runtime/tokenizer/partition.h"
#include "runtime/tokenizer/vocabulary.h"

namespace bantam::tokenizer {

struct EncodeOptions {
  bool add_special = true;     // BOS/EOS where the model asks for them
  bool parse_special = false;  // recognise control tokens such as <|im_start|> in the text
};

// Immutable and thread-safe. Points into the File it was made from, which must outlive it.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Chooses by tokenizer.ggml.model and tokenizer.ggml.pre. kUnimplemented names one that is not
  // supported; kInvalidArgument what is wrong with the vocabulary.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromGguf(const gguf::File& file);

  // Any bytes are accepted. Invalid UTF-8 becomes byte tokens (SentencePiece) or, byte by byte,
  // U+FFFD (byte-level BPE). Bytes for which the vocabulary has no token at all are left out.
  std::vector<TokenId> Encode(absl::string_view text, const EncodeOptions& options) const;

  // The bytes a token stands for; control and unknown tokens give "" unless `render_special`. May
  // be part of a UTF-8 character (see StreamDecoder). An id outside the vocabulary gives "".
  virtual std::string TokenBytes(TokenId id, bool render_special = false) const = 0;
  // The bytes of all tokens; with add_space_prefix, without the space that starts the first one.
  // So Decode gives back what Encode was given, with a space in front if BOS came first. No other
  // clean-up of spaces is done.
  std::string Decode(std::span<const TokenId> ids, bool render_special = false) const;

  int64_t size() const { return vocabulary_.size(); }
  const SpecialTokens& special() const { return vocabulary_.special; }
  // True for every token that ends generation: eos, eot and their kin.
  bool IsEndOfGeneration(TokenId id) const;
  TokenKind kind(TokenId id) const {
    return vocabulary_.Contains(id) ? vocabulary_.kinds[id] : TokenKind::kUndefined;
  }
  // The entry as stored in the vocabulary ("Ġthe", "▁the", "<0x0A>").
  absl::string_view text(TokenId id) const {
    return vocabulary_.Contains(id) ? vocabulary_.texts[id] : absl::string_view();
  }
  // kNoToken when there is no such entry.
  TokenId Find(absl::string_view text) const { return vocabulary_.Find(text); }

 protected:
  // `strip_after`: see SpecialPartition.
  explicit Tokenizer(Vocabulary vocabulary, bool strip_after = false)
      : vocabulary_(std::move(vocabulary)), partition_(vocabulary_, strip_after) {}

  // Appends the ids of all fragments: one text cut at special tokens.
  virtual void EncodeFragments(std::span<const Fragment> fragments,
                               std::vector<TokenId>& out) const = 0;

  const Vocabulary vocabulary_;

 private:
  const SpecialPartition partition_;
};

// Turns a stream of tokens into a stream of whole UTF-8 characters. Bytes that can't be part of
// one come out as U+FFFD, one for each maximal subpart (Unicode 15, section 3.9).
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool render_special = false)
      : tokenizer_(tokenizer), render_special_(render_special) {}
  // The text that became complete with this token; possibly "".
  std::string Push(TokenId id);
  // What is left at the end; an unfinished character comes out as U+FFFD.
  std::string Finish();

 private:
  const Tokenizer& tokenizer_;
  bool render_special_;
  std::string pending_;  // at most 3 bytes between calls
};

}  // namespace bantam::tokenizer
