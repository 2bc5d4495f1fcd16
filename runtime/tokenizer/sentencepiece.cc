#include "runtime/tokenizer/sentencepiece.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <functional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "runtime/base/status.h"
#include "runtime/tokenizer/scores.h"
#include "runtime/tokenizer/space_mark.h"
#include "runtime/tokenizer/utf8.h"
#include "runtime/tokenizer/word_cache.h"

namespace bantam::tokenizer {
namespace {

size_t SymbolLength(absl::string_view text, size_t position) {
  return std::min(Utf8LengthByLead(text[position]), text.size() - position);
}

// Phi-3 strips the space after special tokens; its files say so by their name only.
bool IsPhi3(const gguf::File& file) {
  const absl::StatusOr<absl::string_view> name = file.GetString("general.name");
  if (!name.ok()) return false;
  const std::string lower = absl::AsciiStrToLower(*name);
  return absl::StrContains(lower, "phi-3") || absl::StrContains(lower, "phi3");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> SentencePieceTokenizer::FromGguf(
    const gguf::File& file) {
  BANTAM_ASSIGN_OR_RETURN(Vocabulary v, LoadVocabulary(file));
  BANTAM_ASSIGN_OR_RETURN(const std::vector<float> scores, LoadScores(file, v));
  for (TokenId id = 0; id < v.size(); ++id) {
    if (v.kinds[id] == TokenKind::kByte && ParseByteToken(v.texts[id]) < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("tokenizer.ggml.tokens: token ", id,
                       " is of the kind byte, but its text is not like <0x0A>"));
    }
  }
  // What SentencePiece numbers its own tokens, unless the file says otherwise.
  if (v.size() > 2) {
    v.special.unk = 0;
    v.special.bos = 1;
    v.special.eos = 2;
  }
  v.special.add_bos = true;
  v.special.add_space_prefix = true;
  BANTAM_RETURN_IF_ERROR(LoadSpecialTokens(file, v));
  return std::unique_ptr<Tokenizer>(new SentencePieceTokenizer(std::move(v), scores, IsPhi3(file)));
}

SentencePieceTokenizer::SentencePieceTokenizer(Vocabulary vocabulary,
                                               const std::vector<float>& scores, bool strip_after)
    : Tokenizer(std::move(vocabulary), strip_after) {
  std::vector<float> distinct(scores);
  std::sort(distinct.begin(), distinct.end(), std::greater<>());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  ranks_.reserve(scores.size());
  for (const float score : scores) {
    const auto at = std::lower_bound(distinct.begin(), distinct.end(), score, std::greater<>());
    ranks_.push_back(static_cast<int32_t>(at - distinct.begin()));
  }

  for (int b = 0; b < 256; ++b) {
    TokenId id = vocabulary_.Find(absl::StrFormat("<0x%02X>", b));
    const char byte = static_cast<char>(b);
    if (id == kNoToken) id = vocabulary_.Find(absl::string_view(&byte, 1));
    byte_tokens_[b] = id == kNoToken ? vocabulary_.special.unk : id;
  }

  size_t pairs = 0;
  for (const absl::string_view text : vocabulary_.texts) {
    longest_ = std::max(longest_, text.size());
    pairs += text.size();
  }
  size_t words = 1024;
  while (words < pairs / 8 && words < (size_t{1} << 16)) words *= 2;
  neighbours_.resize(words);
  for (const absl::string_view text : vocabulary_.texts) {
    for (size_t i = 0; i < text.size();) {
      const size_t length = SymbolLength(text, i);
      const size_t next = i + length;
      if (next < text.size()) {
        const uint64_t hash =
            NeighbourHash(text.substr(i, length), text.substr(next, SymbolLength(text, next)));
        neighbours_[(hash >> 6) & (words - 1)] |= uint64_t{1} << (hash & 63);
      }
      i = next;
    }
  }
}

uint64_t SentencePieceTokenizer::NeighbourHash(absl::string_view left, absl::string_view right) {
  uint32_t codes[2] = {0, 0};
  std::memcpy(&codes[0], left.data(), left.size());
  std::memcpy(&codes[1], right.data(), right.size());
  const uint64_t both = static_cast<uint64_t>(codes[0]) << 32 | codes[1];
  return (both * 0x9E3779B97F4A7C15u) >> 32;  // the upper half of a multiplicative hash
}

bool SentencePieceTokenizer::MayJoin(absl::string_view left, absl::string_view right) const {
  const uint64_t hash = NeighbourHash(left, right);
  return (neighbours_[(hash >> 6) & (neighbours_.size() - 1)] >> (hash & 63) & 1) != 0;
}

std::string SentencePieceTokenizer::TokenBytes(TokenId id, bool render_special) const {
  return MarkedTokenBytes(kind(id), text(id), render_special);
}

void SentencePieceTokenizer::EncodePiece(absl::string_view piece, Merger& merger,
                                         std::vector<TokenId>& out) const {
  merger.Clear();
  for (size_t i = 0; i < piece.size();) {
    const size_t length = SymbolLength(piece, i);
    merger.Add(static_cast<uint32_t>(i), static_cast<uint32_t>(length),
               vocabulary_.Find(piece.substr(i, length)));
    i += length;
  }
  merger.Merge([&](const Symbol& left, const Symbol& right) {
    const size_t length = size_t{left.length} + right.length;
    if (length > longest_) return MergeRule{};
    const TokenId id = vocabulary_.Find(piece.substr(left.begin, length));
    return id == kNoToken ? MergeRule{} : MergeRule{ranks_[id], id};
  });
  merger.ForEach([&](const Symbol& s) {
    if (s.id != kNoToken) {
      out.push_back(s.id);
      return;
    }
    for (const char b : piece.substr(s.begin, s.length)) {
      const TokenId id = byte_tokens_[static_cast<unsigned char>(b)];
      if (id != kNoToken) out.push_back(id);
    }
  });
}

void SentencePieceTokenizer::EncodeText(absl::string_view text, Merger& merger, WordCache& cache,
                                        std::vector<TokenId>& out) const {
  size_t begin = 0;
  while (begin < text.size()) {
    size_t last = begin;  // the last symbol of the piece
    size_t end = begin + SymbolLength(text, begin);
    while (end < text.size() && end - begin < Merger::kMaxWord) {
      const size_t length = SymbolLength(text, end);
      if (!MayJoin(text.substr(last, end - last), text.substr(end, length))) break;
      last = end;
      end += length;
    }
    const absl::string_view piece = text.substr(begin, end - begin);
    if (!cache.Append(piece, out)) {
      const size_t first = out.size();
      EncodePiece(piece, merger, out);
      cache.Remember(piece, first, out);
    }
    begin = end;
  }
}

void SentencePieceTokenizer::EncodeFragments(std::span<const Fragment> fragments,
                                             std::vector<TokenId>& out) const {
  std::deque<std::string> escaped;  // kept, because the cache points into them
  WordCache cache;
  Merger merger;
  bool starts = true;  // the text, or after a special token
  for (const Fragment& fragment : fragments) {
    if (fragment.token != kNoToken) {
      out.push_back(fragment.token);
      starts = true;
      continue;
    }
    std::string& text = escaped.emplace_back();
    text.reserve(fragment.text.size() + fragment.text.size() / 2);
    if (starts && special().add_space_prefix) text.append(kSpaceMark.data(), kSpaceMark.size());
    for (const char c : fragment.text) {
      if (c == ' ') {
        text.append(kSpaceMark.data(), kSpaceMark.size());
      } else {
        text += c;
      }
    }
    EncodeText(text, merger, cache, out);
    starts = false;
  }
}

}  // namespace bantam::tokenizer
