// A vocabulary as a tree of bytes, to be walked together with an automaton.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/tokenizer/tokenizer.h"

namespace bantam::grammar {

// Immutable and thread-safe. Holds the tokens that stand for text; control and unknown tokens and
// those without text are not in it.
class TokenTrie {
 public:
  // In the order of a walk, parents before children. The subtree of node i is i to nodes[i].end.
  struct Node {
    uint32_t end;
    uint32_t first_token;  // those that end here: up to the next node's
    uint32_t depth;        // bytes, 1 at the top
    uint8_t byte;          // the last one
  };

  // `vocab_size` may be larger than the tokenizer's: models pad.
  TokenTrie(const tokenizer::Tokenizer& tokenizer, int64_t vocab_size);

  // With one node past the end.
  std::span<const Node> nodes() const { return nodes_; }
  size_t node_count() const { return nodes_.size() - 1; }
  std::span<const tokenizer::TokenId> TokensAt(size_t node) const {
    return std::span(tokens_).subspan(nodes_[node].first_token,
                                      nodes_[node + 1].first_token - nodes_[node].first_token);
  }
  uint32_t max_depth() const { return max_depth_; }
  int64_t vocab_size() const { return vocab_size_; }
  std::span<const tokenizer::TokenId> end_tokens() const { return end_tokens_; }
  // The bytes of a token that is in the tree; "" for others.
  absl::string_view bytes(tokenizer::TokenId id) const {
    if (id < 0 || id >= static_cast<int64_t>(bytes_.size())) return {};
    return bytes_[id];
  }

 private:
  int64_t vocab_size_;
  std::vector<Node> nodes_;
  std::vector<tokenizer::TokenId> tokens_;
  std::vector<tokenizer::TokenId> end_tokens_;  // that end generation
  std::vector<std::string> bytes_;              // by id
  uint32_t max_depth_ = 0;
};

}  // namespace bantam::grammar
