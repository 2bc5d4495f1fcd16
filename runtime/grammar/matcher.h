// Which tokens may come next under a grammar.
//
// The matcher makes the grammar's automaton deterministic as it goes. What it has read so far is a
// *situation*: the states the text may be in, each with its stack of return states. Stacks are
// shared and merged: a node of one is the set of all (return state, node below) that a rule can
// return to, so that an ambiguous grammar takes no more room than another, and calls in last
// position take none. Situations are numbered, and the moves between them and the token mask of
// each are kept, so that inside a string, say, the next mask is a look-up.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "runtime/grammar/grammar.h"
#include "runtime/grammar/token_trie.h"

namespace bantam::grammar {

// Not thread-safe. Memory is bounded: rules nest at most kMaxDepth deep (deeper is not allowed to
// the model), a situation has at most kMaxItems members (further readings of an ambiguous text are
// dropped), and situations no longer needed are forgotten when there are many.
class Matcher {
 public:
  static constexpr uint32_t kMaxDepth = 1024;
  static constexpr size_t kMaxItems = 4096;

  Matcher(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTrie> tokens);

  // A bit for each token of the vocabulary that may come next, 64 to a word; those that end
  // generation may when the text may end. Valid until the next call. All zero when the vocabulary
  // cannot spell what must follow.
  std::span<const uint64_t> Mask();
  // Goes on past a token. kInvalidArgument when the grammar does not allow it; nothing changes
  // then. An allowed token that ends generation changes nothing either.
  absl::Status Accept(tokenizer::TokenId token);
  // Goes on past text; false, and unchanged, when the grammar does not allow it.
  bool AcceptText(absl::string_view text);

  // Whether the text so far is a whole text of the grammar ...
  bool MayEnd() const { return situations_[current_].may_end; }
  // ... and whether nothing could follow.
  bool MustEnd() const { return MayEnd() && situations_[current_].items.empty(); }
  // Starts again; what is known of the grammar stays.
  void Reset();

  // For tests: situations and stack nodes kept.
  size_t situation_count() const { return situations_.size(); }
  size_t node_count() const { return nodes_.size(); }

 private:
  using SituationId = int32_t;
  static constexpr SituationId kUnknown = -1;
  static constexpr SituationId kDead = 0;
  using NodeId = uint32_t;

  // A state to go on from with a stack: in situations and in nodes alike. Packed: state, node.
  using Item = uint64_t;
  using Items = std::vector<Item>;
  static Item MakeItem(StateId state, NodeId node) { return (Item{state} << 32) | node; }
  static StateId StateOf(Item item) { return static_cast<StateId>(item >> 32); }
  static NodeId NodeOf(Item item) { return static_cast<NodeId>(item); }

  struct Node {
    Items returns;
    uint32_t depth;
  };
  struct Situation {
    Items items;  // those with byte or token edges; sorted
    bool may_end = false;
    std::vector<SituationId> moves;  // by byte class
    std::vector<uint64_t> mask;      // empty until asked for
  };

  // `reached` and all that follows from it without reading: returns, then calls.
  SituationId Close(Items reached);
  SituationId Move(SituationId from, uint8_t byte);
  SituationId MoveByToken(SituationId from, tokenizer::TokenId token);
  SituationId Walk(SituationId from, absl::string_view bytes);
  void ComputeMask(SituationId id);
  SituationId Intern(Items items, bool may_end);
  NodeId InternNode(Items returns);
  // Forgets all situations and nodes that `live` ones do not need; renumbers `live`.
  void Forget(std::span<SituationId> live);
  bool ManyKept() const;

  const std::shared_ptr<const Grammar> grammar_;
  const std::shared_ptr<const TokenTrie> tokens_;
  std::vector<Situation> situations_;  // [kDead] has nothing
  absl::flat_hash_map<Items, SituationId> situation_ids_;
  std::vector<Node> nodes_;  // [0]: the bottom
  absl::flat_hash_map<Items, NodeId> node_ids_;
  SituationId current_ = kDead;
  size_t masks_ = 0;               // situations with a mask
  std::vector<SituationId> path_;  // of a walk through the tree, by depth
  std::vector<Items> called_;      // by rank: what calls return to; empty between uses
  std::vector<uint32_t> rule_of_rank_;
};

}  // namespace bantam::grammar
