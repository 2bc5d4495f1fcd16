#include "runtime/tokenizer/unigram.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "runtime/base/status.h"
#include "runtime/tokenizer/scores.h"
#include "runtime/tokenizer/space_mark.h"
#include "runtime/tokenizer/utf8.h"

namespace bantam::tokenizer {
namespace {

constexpr double kUnknownPenalty = 10;  // below the worst token, as SentencePiece has it

// Bytes of the character at `at` by its shape alone, as the peers read it; 0 when it is none.
size_t CharacterLength(absl::string_view text, size_t at) {
  const auto lead = static_cast<unsigned char>(text[at]);
  if (lead < 0x80) return 1;
  if (lead < 0xC0 || lead >= 0xF8) return 0;
  const size_t length = Utf8LengthByLead(text[at]);
  if (at + length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((static_cast<unsigned char>(text[at + i]) & 0xC0) != 0x80) return 0;
  }
  return length;
}

}  // namespace

UnigramTokenizer::UnigramTokenizer(Vocabulary vocabulary, std::vector<float> scores,
                                   Charsmap charsmap, bool merge_spaces)
    : Tokenizer(std::move(vocabulary)),
      scores_(scores.begin(), scores.end()),
      charsmap_(std::move(charsmap)),
      merge_spaces_(merge_spaces) {
  float lowest = std::numeric_limits<float>::max();
  for (TokenId id = 0; id < vocabulary_.size(); ++id) {
    if (vocabulary_.kinds[id] == TokenKind::kNormal) lowest = std::min(lowest, scores[id]);
    // Certain to be taken: the scores of others are logarithms of probabilities.
    if (vocabulary_.kinds[id] == TokenKind::kUserDefined) scores_[id] = 0;
  }
  unknown_score_ = lowest - static_cast<float>(kUnknownPenalty);
  BuildTrie();
}

void UnigramTokenizer::BuildTrie() {
  std::vector<TokenId> ids;
  for (TokenId id = 0; id < vocabulary_.size(); ++id) {
    const TokenKind kind = vocabulary_.kinds[id];
    const bool spelled =
        kind == TokenKind::kNormal || kind == TokenKind::kUserDefined || kind == TokenKind::kUnused;
    if (spelled && !vocabulary_.texts[id].empty()) ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end(),
            [&](TokenId a, TokenId b) { return vocabulary_.texts[a] < vocabulary_.texts[b]; });
  // Level by level: each node of a level with the range of ids that go through it.
  struct Open {
    size_t node, begin, end;
  };
  nodes_.emplace_back();
  std::vector<Open> level = {{0, 0, ids.size()}}, next;
  for (size_t depth = 0; !level.empty(); ++depth) {
    next.clear();
    for (Open open : level) {
      if (open.begin < open.end && vocabulary_.texts[ids[open.begin]].size() == depth) {
        nodes_[open.node].token = ids[open.begin++];
      }
      nodes_[open.node].first_child = static_cast<uint32_t>(nodes_.size());
      while (open.begin < open.end) {
        const char byte = vocabulary_.texts[ids[open.begin]][depth];
        size_t end = open.begin;
        while (end < open.end && vocabulary_.texts[ids[end]][depth] == byte) ++end;
        next.push_back({nodes_.size(), open.begin, end});
        nodes_.emplace_back().byte = static_cast<uint8_t>(byte);
        ++nodes_[open.node].children;
        open.begin = end;
      }
    }
    level.swap(next);
  }
  for (uint16_t i = 0; i < nodes_[0].children; ++i) {
    const Node& child = nodes_[nodes_[0].first_child + i];
    first_[child.byte] = &child;
  }
}

const UnigramTokenizer::Node* UnigramTokenizer::Child(const Node& node, char byte) const {
  const auto wanted = static_cast<uint8_t>(byte);
  const Node* begin = nodes_.data() + node.first_child;
  const Node* end = begin + node.children;
  constexpr int kFew = 8;
  if (node.children > kFew) {
    begin =
        std::lower_bound(begin, end, wanted, [](const Node& n, uint8_t b) { return n.byte < b; });
    return begin != end && begin->byte == wanted ? begin : nullptr;
  }
  for (; begin != end; ++begin) {
    if (begin->byte == wanted) return begin;
  }
  return nullptr;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> UnigramTokenizer::FromGguf(const gguf::File& file) {
  BANTAM_ASSIGN_OR_RETURN(Vocabulary vocabulary, LoadVocabulary(file));
  BANTAM_ASSIGN_OR_RETURN(std::vector<float> scores, LoadScores(file, vocabulary));
  BANTAM_ASSIGN_OR_RETURN(Charsmap charsmap, Charsmap::FromGguf(file));
  SpecialTokens& special = vocabulary.special;
  // T5's own numbers, unless the file says otherwise.
  if (vocabulary.size() > 2) {
    special.pad = 0;
    special.eos = 1;
    special.unk = 2;
  }
  special.add_eos = true;
  BANTAM_RETURN_IF_ERROR(LoadSpecialTokens(file, vocabulary));
  BANTAM_ASSIGN_OR_RETURN(const bool merge_spaces,
                          gguf::Or(file.GetBool("tokenizer.ggml.remove_extra_whitespaces"), false));
  return std::unique_ptr<Tokenizer>(new UnigramTokenizer(std::move(vocabulary), std::move(scores),
                                                         std::move(charsmap), merge_spaces));
}

std::string UnigramTokenizer::TokenBytes(TokenId id, bool render_special) const {
  return MarkedTokenBytes(kind(id), text(id), render_special);
}

void UnigramTokenizer::Rewrite(absl::string_view text, std::string& out) const {
  out.clear();
  bool in_word = false, began = false;
  const auto append = [&](absl::string_view bytes) {
    for (const char c : bytes) {
      if (c == ' ') {
        in_word = false;
        if (!merge_spaces_) out.append(kSpaceMark.data(), kSpaceMark.size());
        continue;
      }
      if (!in_word && (merge_spaces_ || (special().add_space_prefix && !began))) {
        out.append(kSpaceMark.data(), kSpaceMark.size());
        began = true;
      }
      in_word = true;
      out += c;
    }
  };
  for (size_t at = 0; at < text.size();) {
    const Charsmap::Match match = charsmap_.LongestPrefix(text.substr(at));
    if (match.length > 0) {
      append(match.replacement);
      at += match.length;
      continue;
    }
    const size_t length = CharacterLength(text, at);
    append(length > 0 ? text.substr(at, length) : kReplacement);
    at += std::max<size_t>(length, 1);
  }
}

void UnigramTokenizer::EncodeText(absl::string_view text, std::vector<Step>& steps,
                                  std::vector<TokenId>& out) const {
  if (text.empty()) return;
  const TokenId unknown = special().unk;
  steps.assign(text.size() + 1, {-std::numeric_limits<double>::max(), 0, unknown});
  steps[0].score = 0;
  const auto offer = [&](size_t begin, size_t end, double score, TokenId token) {
    const double sum = steps[begin].score + score;
    if (sum > steps[end].score) steps[end] = {sum, begin, token};
  };
  for (size_t at = 0; at < text.size();) {
    const size_t character = std::min(Utf8LengthByLead(text[at]), text.size() - at);
    bool spelled = false;
    const Node* node = first_[static_cast<unsigned char>(text[at])];
    for (size_t end = at + 1; node != nullptr; ++end) {
      if (node->token != kNoToken) {
        spelled |= end - at == character;
        offer(at, end, scores_[node->token], node->token);
      }
      node = end < text.size() ? Child(*node, text[end]) : nullptr;
    }
    if (!spelled) offer(at, at + character, unknown_score_, unknown);
    at += character;
  }
  const size_t first = out.size();
  bool after_unknown = false;
  for (size_t end = text.size(); end > 0; end = steps[end].begin) {
    const TokenId token = steps[end].token;
    const bool is_unknown = token == unknown;
    // Neighbouring unknown characters are one token.
    if (token != kNoToken && !(after_unknown && is_unknown)) out.push_back(token);
    after_unknown = is_unknown;
  }
  std::reverse(out.begin() + static_cast<std::ptrdiff_t>(first), out.end());
}

void UnigramTokenizer::EncodeFragments(std::span<const Fragment> fragments,
                                       std::vector<TokenId>& out) const {
  std::string rewritten;
  std::vector<Step> steps;
  for (const Fragment& fragment : fragments) {
    if (fragment.token != kNoToken) {
      out.push_back(fragment.token);
      continue;
    }
    Rewrite(fragment.text, rewritten);
    EncodeText(rewritten, steps, out);
  }
}

}  // namespace bantam::tokenizer
