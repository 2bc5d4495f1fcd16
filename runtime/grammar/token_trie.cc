#include "runtime/grammar/token_trie.h"

#include <algorithm>
#include <numeric>
#include <string>

namespace bantam::grammar {

using tokenizer::TokenId;

TokenTrie::TokenTrie(const tokenizer::Tokenizer& tokenizer, int64_t vocab_size)
    : vocab_size_(vocab_size), bytes_(tokenizer.size()) {
  std::vector<TokenId> order;
  for (TokenId id = 0; id < std::min<int64_t>(tokenizer.size(), vocab_size); ++id) {
    if (tokenizer.IsEndOfGeneration(id)) {
      end_tokens_.push_back(id);
      continue;
    }
    const tokenizer::TokenKind kind = tokenizer.kind(id);
    if (kind == tokenizer::TokenKind::kControl || kind == tokenizer::TokenKind::kUnknown ||
        kind == tokenizer::TokenKind::kUnused) {
      continue;
    }
    bytes_[id] = tokenizer.TokenBytes(id);
    if (!bytes_[id].empty()) order.push_back(id);
  }
  std::sort(order.begin(), order.end(), [this](TokenId a, TokenId b) {
    return bytes_[a] != bytes_[b] ? bytes_[a] < bytes_[b] : a < b;
  });
  std::vector<uint32_t> path;  // nodes from the top to the last one
  absl::string_view last;
  auto close_to = [&](size_t depth) {
    while (path.size() > depth) {
      nodes_[path.back()].end = static_cast<uint32_t>(nodes_.size());
      path.pop_back();
    }
  };
  for (TokenId id : order) {
    const absl::string_view text = bytes_[id];
    const size_t shared =
        std::mismatch(text.begin(), text.end(), last.begin(), last.end()).first - text.begin();
    close_to(shared);
    for (size_t i = shared; i < text.size(); ++i) {
      path.push_back(static_cast<uint32_t>(nodes_.size()));
      nodes_.push_back({0, static_cast<uint32_t>(tokens_.size()), static_cast<uint32_t>(i + 1),
                        static_cast<uint8_t>(text[i])});
    }
    tokens_.push_back(id);
    max_depth_ = std::max(max_depth_, static_cast<uint32_t>(text.size()));
    last = text;
  }
  close_to(0);
  nodes_.push_back(
      {static_cast<uint32_t>(nodes_.size() + 1), static_cast<uint32_t>(tokens_.size()), 0, 0});
}

}  // namespace bantam::grammar
