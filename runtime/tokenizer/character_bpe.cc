#include "runtime/tokenizer/character_bpe.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "runtime/base/status.h"
#include "runtime/tokenizer/space_mark.h"
#include "runtime/tokenizer/utf8.h"

namespace bantam::tokenizer {

CharacterBpeTokenizer::CharacterBpeTokenizer(Vocabulary vocabulary, MergeRules rules)
    : Tokenizer(std::move(vocabulary)), rules_(std::move(rules)) {
  for (int b = 0; b < 256; ++b) {
    byte_tokens_[b] = vocabulary_.Find(absl::StrFormat("<0x%02X>", b));
  }
}

absl::StatusOr<std::unique_ptr<Tokenizer>> CharacterBpeTokenizer::FromGguf(const gguf::File& file) {
  BANTAM_ASSIGN_OR_RETURN(Vocabulary v, LoadVocabulary(file));
  BANTAM_RETURN_IF_ERROR(LoadSpecialTokens(file, v));
  v.special.add_space_prefix = false;
  // The first files said not to, wrongly.
  v.special.add_bos = v.special.bos != kNoToken;
  BANTAM_ASSIGN_OR_RETURN(MergeRules rules, MergeRules::FromGguf(file, v));
  return std::unique_ptr<Tokenizer>(new CharacterBpeTokenizer(std::move(v), std::move(rules)));
}

std::string CharacterBpeTokenizer::TokenBytes(TokenId id, bool render_special) const {
  return MarkedTokenBytes(kind(id), text(id), render_special);
}

void CharacterBpeTokenizer::EncodeLine(absl::string_view line, Merger& merger,
                                       std::vector<TokenId>& out) const {
  merger.Clear();
  for (size_t i = 0; i < line.size();) {
    const size_t length = std::min(Utf8LengthByLead(line[i]), line.size() - i);
    merger.Add(static_cast<uint32_t>(i), static_cast<uint32_t>(length),
               rules_.Find(vocabulary_, line.substr(i, length)));
    i += length;
  }
  merger.Merge(
      [&](const Symbol& left, const Symbol& right) { return rules_.Rule(left.id, right.id); });
  merger.ForEach([&](const Symbol& s) {
    if (vocabulary_.Contains(s.id)) {
      out.push_back(s.id);
      return;
    }
    for (const char b : line.substr(s.begin, s.length)) {
      const TokenId single = byte_tokens_[static_cast<unsigned char>(b)];
      if (single != kNoToken) out.push_back(single);
    }
  });
}

void CharacterBpeTokenizer::EncodeFragments(std::span<const Fragment> fragments,
                                            std::vector<TokenId>& out) const {
  Merger merger;
  for (const Fragment& fragment : fragments) {
    if (fragment.token != kNoToken) {
      out.push_back(fragment.token);
      continue;
    }
    const std::string escaped = absl::StrReplaceAll(
        IsUtf8(fragment.text) ? std::string(fragment.text) : RepairUtf8(fragment.text),
        {{" ", kSpaceMark}});
    const absl::string_view text = escaped;
    for (size_t begin = 0; begin < text.size();) {
      const bool newlines = text[begin] == '\n';
      size_t end = newlines ? text.find_first_not_of('\n', begin) : text.find('\n', begin);
      end = std::min({end, text.size(), begin + Merger::kMaxWord});
      const absl::string_view line = text.substr(begin, end - begin);
      const TokenId whole = newlines ? vocabulary_.Find(line) : kNoToken;
      if (whole != kNoToken) {
        out.push_back(whole);
      } else {
        EncodeLine(line, merger, out);
      }
      begin = end;
    }
  }
}

}  // namespace bantam::tokenizer
