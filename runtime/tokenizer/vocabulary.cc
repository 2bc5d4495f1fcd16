#include "runtime/tokenizer/vocabulary.h"

#include <limits>
#include <span>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "runtime/base/status.h"
#include "runtime/tokenizer/utf8.h"

namespace bantam::tokenizer {
namespace {

constexpr char kTokens[] = "tokenizer.ggml.tokens";
constexpr char kTokenType[] = "tokenizer.ggml.token_type";

absl::Status LoadKinds(const gguf::File& file, Vocabulary& v) {
  v.kinds.assign(v.texts.size(), TokenKind::kNormal);
  if (file.Find(kTokenType) == nullptr) return absl::OkStatus();
  BANTAM_ASSIGN_OR_RETURN(const std::vector<int64_t> kinds, file.GetInts(kTokenType));
  if (kinds.size() != v.texts.size()) {
    return absl::InvalidArgumentError(absl::StrCat(kTokenType, " has ", kinds.size(),
                                                   " entries, expected ", v.texts.size(),
                                                   ", as many as ", kTokens));
  }
  for (size_t i = 0; i < kinds.size(); ++i) {
    if (kinds[i] < 0 || kinds[i] > static_cast<int64_t>(TokenKind::kByte)) {
      return absl::InvalidArgumentError(
          absl::StrCat(kTokenType, " of token ", i, " is ", kinds[i], ", expected 0 to 6"));
    }
    v.kinds[i] = static_cast<TokenKind>(kinds[i]);
  }
  return absl::OkStatus();
}

}  // namespace

int ParseByteToken(absl::string_view text) {
  if (text.size() != 6 || !absl::StartsWith(text, "<0x") || text[5] != '>') return -1;
  if (!absl::ascii_isxdigit(text[3]) || !absl::ascii_isxdigit(text[4])) return -1;
  const auto digit = [](char c) {
    return absl::ascii_isdigit(c) ? c - '0' : absl::ascii_tolower(c) - 'a' + 10;
  };
  return digit(text[3]) * 16 + digit(text[4]);
}

absl::StatusOr<Vocabulary> LoadVocabulary(const gguf::File& file) {
  Vocabulary v;
  if (file.Find(kTokens) == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(kTokens, " is missing: no vocabulary"));
  }
  BANTAM_ASSIGN_OR_RETURN(const std::span<const absl::string_view> texts, file.GetStrings(kTokens));
  if (texts.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(kTokens, " is empty, expected a vocabulary"));
  }
  // Half the range, so that symbols that are no tokens can be numbered after them.
  if (texts.size() > std::numeric_limits<TokenId>::max() / 2) {
    return absl::InvalidArgumentError(
        absl::StrCat(kTokens, " has ", texts.size(), " entries, more than token ids can number"));
  }
  v.texts.assign(texts.begin(), texts.end());
  v.ids.reserve(texts.size());
  for (TokenId id = 0; id < v.size(); ++id) {
    if (v.texts[id].empty()) continue;
    if (!IsUtf8(v.texts[id])) {
      return absl::InvalidArgumentError(absl::StrCat(kTokens, ": token ", id, " is not UTF-8"));
    }
    const auto [it, is_new] = v.ids.emplace(v.texts[id], id);
    if (!is_new) {
      return absl::InvalidArgumentError(
          absl::StrCat(kTokens, ": tokens ", it->second, " and ", id, " are the same text"));
    }
  }
  BANTAM_RETURN_IF_ERROR(LoadKinds(file, v));
  return v;
}

}  // namespace bantam::tokenizer
