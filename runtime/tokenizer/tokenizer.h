// Text to token ids and back, from the vocabulary in a GGUF file.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/gguf/file.h"

namespace bantam::tokenizer {

using TokenId = int32_t;
inline constexpr TokenId kNoToken = -1;

// As stored in tokenizer.ggml.token_type.
enum class TokenKind : uint8_t {
  kUndefined = 0,
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

struct EncodeOptions {
  bool add_special = true;     // BOS/EOS where the model asks for them
  bool parse_special = false;  // recognise control tokens such as <|im_start|> in the text
};

struct SpecialTokens {
  TokenId bos = kNoToken;
  TokenId eos = kNoToken;
  TokenId eot = kNoToken;  // end of turn
  TokenId unk = kNoToken;
  TokenId sep = kNoToken;
  TokenId pad = kNoToken;
  bool add_bos = false;
  bool add_eos = false;
  bool add_space_prefix = false;
};

// Immutable and thread-safe. Points into the File it was made from, which must outlive it.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Chooses by tokenizer.ggml.model and tokenizer.ggml.pre. kUnimplemented names one that is not
  // supported; kInvalidArgument what is wrong with the vocabulary.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromGguf(const gguf::File& file);

  // Any bytes are accepted; invalid UTF-8 becomes byte tokens or U+FFFD as the vocabulary allows.
  virtual std::vector<TokenId> Encode(absl::string_view text,
                                      const EncodeOptions& options) const = 0;

  // The bytes a token stands for; control tokens give "" unless `render_special`. May be part of a
  // UTF-8 character (see StreamDecoder). An id outside the vocabulary gives "".
  virtual std::string TokenBytes(TokenId id, bool render_special = false) const = 0;
  std::string Decode(std::span<const TokenId> ids, bool render_special = false) const;

  int64_t size() const { return static_cast<int64_t>(texts_.size()); }
  const SpecialTokens& special() const { return special_; }
  // True for every token that ends generation: eos, eot and their kin.
  bool IsEndOfGeneration(TokenId id) const;
  TokenKind kind(TokenId id) const { return kinds_[id]; }
  // The entry as stored in the vocabulary ("Ġthe", "▁the", "<0x0A>").
  absl::string_view text(TokenId id) const { return texts_[id]; }
  // kNoToken when there is no such entry.
  TokenId Find(absl::string_view text) const;

 protected:
  std::vector<absl::string_view> texts_;
  std::vector<TokenKind> kinds_;
  std::vector<TokenId> end_of_generation_;  // sorted
  SpecialTokens special_;
  absl::flat_hash_map<absl::string_view, TokenId> ids_;
};

// Turns a stream of tokens into a stream of whole UTF-8 characters.
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
  std::string pending_;
};

}  // namespace bantam::tokenizer
