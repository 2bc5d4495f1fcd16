// The vocabulary of a GGUF file, checked, before any algorithm is chosen.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
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

struct SpecialTokens {
  TokenId bos = kNoToken;
  TokenId eos = kNoToken;
  TokenId eot = kNoToken;  // end of turn
  TokenId eom = kNoToken;  // end of message: the model waits for a tool
  TokenId unk = kNoToken;
  TokenId sep = kNoToken;
  TokenId pad = kNoToken;
  bool add_bos = false;  // only true where there is such a token
  bool add_eos = false;
  bool add_sep = false;  // at the end of a text, as encoders expect
  bool add_space_prefix = false;
};

// Texts point into the File. A token with an empty text (some converters pad a vocabulary so) can
// be decoded, to nothing, but not found.
struct Vocabulary {
  std::vector<absl::string_view> texts;
  std::vector<TokenKind> kinds;  // as many as texts
  absl::flat_hash_map<absl::string_view, TokenId> ids;
  SpecialTokens special;
  std::vector<TokenId> end_of_generation;  // sorted

  TokenId size() const { return static_cast<TokenId>(texts.size()); }
  bool Contains(TokenId id) const { return id >= 0 && id < size(); }
  TokenId Find(absl::string_view text) const {
    const auto it = ids.find(text);
    return it == ids.end() ? kNoToken : it->second;
  }
};

// The byte that a token like "<0x0A>" stands for; -1 for any other text.
int ParseByteToken(absl::string_view text);

// Reads tokenizer.ggml.tokens and tokenizer.ggml.token_type. kInvalidArgument when they are
// missing, empty, of different lengths, hold a text twice, text that is not UTF-8, or an unknown
// kind. `special` and `end_of_generation` are left alone.
absl::StatusOr<Vocabulary> LoadVocabulary(const gguf::File& file);

// Fills `special` (what it holds comes in as the defaults of the algorithm) and `end_of_generation`
// from metadata and from the texts that models are known to use. Corrects `kinds` of such tokens
// where a converter got them wrong.
absl::Status LoadSpecialTokens(const gguf::File& file, Vocabulary& vocabulary);

}  // namespace bantam::tokenizer
