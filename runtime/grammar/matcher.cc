#include "runtime/grammar/matcher.h"

#include <algorithm>
#include <queue>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/base/printable.h"

namespace bantam::grammar {

using tokenizer::TokenId;

namespace {

constexpr uint64_t kMayEndMark = UINT64_MAX;  // in the key of a situation; no item is that
constexpr size_t kManySituations = 8192;
constexpr size_t kManyNodes = 1 << 16;
constexpr size_t kManyMaskBytes = size_t{16} << 20;

template <typename T>
void SortUnique(std::vector<T>& v) {
  std::sort(v.begin(), v.end());
  v.erase(std::unique(v.begin(), v.end()), v.end());
}

}  // namespace

Matcher::Matcher(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTrie> tokens)
    : grammar_(std::move(grammar)),
      tokens_(std::move(tokens)),
      path_(tokens_->max_depth() + 1),
      called_(grammar_->rule_count()),
      rule_of_rank_(grammar_->rule_count()) {
  for (uint32_t r = 0; r < rule_of_rank_.size(); ++r) rule_of_rank_[grammar_->rank(r)] = r;
  nodes_.push_back({{}, 0});
  Intern({}, false);  // kDead
  Reset();
}

void Matcher::Reset() { current_ = Close({MakeItem(Grammar::kStart, 0)}); }

Matcher::SituationId Matcher::Intern(Items items, bool may_end) {
  Items key = items;
  if (may_end) key.push_back(kMayEndMark);
  auto [entry, added] =
      situation_ids_.try_emplace(std::move(key), static_cast<SituationId>(situations_.size()));
  if (added) situations_.push_back({std::move(items), may_end, {}, {}});
  return entry->second;
}

Matcher::NodeId Matcher::InternNode(Items returns) {
  SortUnique(returns);
  auto [entry, added] = node_ids_.try_emplace(returns, static_cast<NodeId>(nodes_.size()));
  if (added) {
    uint32_t depth = 0;
    for (Item item : returns) depth = std::max(depth, nodes_[NodeOf(item)].depth);
    nodes_.push_back({std::move(returns), depth + 1});
  }
  return entry->second;
}

Matcher::SituationId Matcher::Close(Items reached) {
  Items items;
  bool may_end = false;
  // Rules by rank, so that all calls of a rule are known before it is entered.
  std::priority_queue<uint32_t, std::vector<uint32_t>, std::greater<>> ranks;
  auto look_at = [&](Item item) {
    const State& state = grammar_->state(StateOf(item));
    if (!state.bytes.empty() || !state.tokens.empty()) items.push_back(item);
    for (const CallEdge& call : state.calls) {
      Items& returns = called_[grammar_->rank(call.rule)];
      if (returns.empty()) ranks.push(grammar_->rank(call.rule));
      if (NodeOf(item) != 0 && grammar_->state(call.to).OnlyEnds()) {
        // Returning there is returning from here.
        const Items& below = nodes_[NodeOf(item)].returns;
        if (returns.size() < kMaxItems) returns.insert(returns.end(), below.begin(), below.end());
      } else {
        returns.push_back(MakeItem(call.to, NodeOf(item)));
      }
      if (returns.size() > 2 * kMaxItems) SortUnique(returns);
    }
  };
  // Returns first: what follows a rule that has ended here.
  absl::flat_hash_map<Item, bool> seen;
  while (!reached.empty()) {
    const Item item = reached.back();
    reached.pop_back();
    if (seen.size() >= kMaxItems || !seen.try_emplace(item, true).second) continue;
    if (grammar_->state(StateOf(item)).accepting) {
      if (NodeOf(item) == 0) {
        may_end = true;
      } else {
        const Items& below = nodes_[NodeOf(item)].returns;
        reached.insert(reached.end(), below.begin(), below.end());
      }
    }
    look_at(item);
  }
  while (!ranks.empty()) {
    const uint32_t rank = ranks.top();
    ranks.pop();
    Items returns = std::exchange(called_[rank], {});
    SortUnique(returns);
    if (returns.size() > kMaxItems) returns.resize(kMaxItems);
    const NodeId node = InternNode(std::move(returns));
    if (nodes_[node].depth > kMaxDepth || items.size() >= kMaxItems) continue;
    look_at(MakeItem(grammar_->entry(rule_of_rank_[rank]), node));
  }
  SortUnique(items);
  return Intern(std::move(items), may_end);
}

Matcher::SituationId Matcher::Move(SituationId from, uint8_t byte) {
  const uint8_t byte_class = grammar_->byte_class(byte);
  if (situations_[from].moves.empty()) {
    situations_[from].moves.assign(grammar_->byte_class_count(), kUnknown);
  }
  const SituationId known = situations_[from].moves[byte_class];
  if (known != kUnknown) return known;
  Items reached;
  for (Item item : situations_[from].items) {
    for (const ByteEdge& edge : grammar_->state(StateOf(item)).bytes) {
      if (edge.first <= byte && byte <= edge.last) {
        reached.push_back(MakeItem(edge.to, NodeOf(item)));
      }
    }
  }
  const SituationId to = reached.empty() ? kDead : Close(std::move(reached));
  situations_[from].moves[byte_class] = to;
  return to;
}

Matcher::SituationId Matcher::Walk(SituationId from, absl::string_view bytes) {
  for (char byte : bytes) {
    if (from == kDead) break;
    from = Move(from, static_cast<uint8_t>(byte));
  }
  return from;
}

// By the token's bytes and by edges that name it.
Matcher::SituationId Matcher::MoveByToken(SituationId from, TokenId token) {
  const absl::string_view bytes = tokens_->bytes(token);
  const SituationId by_bytes = bytes.empty() ? kDead : Walk(from, bytes);
  Items reached;
  for (Item item : situations_[from].items) {
    for (const TokenEdge& edge : grammar_->state(StateOf(item)).tokens) {
      if (edge.Takes(token)) reached.push_back(MakeItem(edge.to, NodeOf(item)));
    }
  }
  if (reached.empty()) return by_bytes;
  const SituationId by_name = Close(std::move(reached));
  Items both = situations_[by_bytes].items;
  both.insert(both.end(), situations_[by_name].items.begin(), situations_[by_name].items.end());
  SortUnique(both);
  return Intern(std::move(both), situations_[by_bytes].may_end || situations_[by_name].may_end);
}

std::span<const uint64_t> Matcher::Mask() {
  if (situations_[current_].mask.empty()) ComputeMask(current_);
  return situations_[current_].mask;
}

void Matcher::ComputeMask(SituationId id) {
  if (ManyKept()) {
    Forget(std::span(&current_, 1));
    id = current_;
  }
  std::vector<uint64_t> mask((tokens_->vocab_size() + 63) / 64, 0);
  auto allow = [&mask](TokenId token) { mask[token >> 6] |= uint64_t{1} << (token & 63); };
  if (situations_[id].may_end) {
    for (TokenId token : tokens_->end_tokens()) allow(token);
  }
  path_[0] = id;
  const std::span<const TokenTrie::Node> nodes = tokens_->nodes();
  for (size_t i = 0; i < tokens_->node_count();) {
    const TokenTrie::Node& node = nodes[i];
    const SituationId to = Move(path_[node.depth - 1], node.byte);
    if (to == kDead) {
      i = node.end;
      continue;
    }
    path_[node.depth] = to;
    for (TokenId token : tokens_->TokensAt(i)) allow(token);
    ++i;
    if (situations_.size() > 2 * kManySituations || nodes_.size() > 2 * kManyNodes) {
      // Rare: a walk that makes this many. Only the way to here is still needed.
      Forget(std::span(path_).first(node.depth + 1));
      current_ = id = path_[0];
    }
  }
  for (Item item : situations_[id].items) {
    for (const TokenEdge& edge : grammar_->state(StateOf(item)).tokens) {
      if (!edge.negated) {
        if (edge.token < tokens_->vocab_size()) allow(edge.token);
        continue;
      }
      std::vector<uint64_t> others((tokens_->vocab_size() + 63) / 64, ~uint64_t{0});
      if (tokens_->vocab_size() % 64 != 0) {
        others.back() = (uint64_t{1} << (tokens_->vocab_size() % 64)) - 1;
      }
      auto forbid = [&others](TokenId token) {
        others[token >> 6] &= ~(uint64_t{1} << (token & 63));
      };
      if (edge.token < tokens_->vocab_size()) forbid(edge.token);
      for (TokenId token : tokens_->end_tokens()) forbid(token);
      for (size_t w = 0; w < mask.size(); ++w) mask[w] |= others[w];
    }
  }
  situations_[id].mask = std::move(mask);
  ++masks_;
}

absl::Status Matcher::Accept(TokenId token) {
  const std::span<const TokenId> ends = tokens_->end_tokens();
  if (std::find(ends.begin(), ends.end(), token) != ends.end() && MayEnd()) {
    return absl::OkStatus();
  }
  const SituationId to = MoveByToken(current_, token);
  if (to == kDead) {
    return absl::InvalidArgumentError(absl::StrCat("the grammar does not allow token ", token, " '",
                                                   Printable(tokens_->bytes(token)), "' here"));
  }
  current_ = to;
  return absl::OkStatus();
}

bool Matcher::AcceptText(absl::string_view text) {
  const SituationId to = Walk(current_, text);
  if (to == kDead) return false;
  current_ = to;
  return true;
}

bool Matcher::ManyKept() const {
  return situations_.size() > kManySituations || nodes_.size() > kManyNodes ||
         masks_ * tokens_->vocab_size() / 8 > kManyMaskBytes;
}

void Matcher::Forget(std::span<SituationId> live) {
  std::vector<Node> old_nodes = std::move(nodes_);
  std::vector<Situation> old = std::move(situations_);
  nodes_.clear();
  node_ids_.clear();
  situations_.clear();
  situation_ids_.clear();
  masks_ = 0;
  nodes_.push_back({{}, 0});
  Intern({}, false);
  // A node is older than all that stand on it, so the needed ones can be found from the newest
  // down and made again from the oldest up.
  std::vector<bool> needed(old_nodes.size(), false);
  for (SituationId id : live) {
    for (Item item : old[id].items) needed[NodeOf(item)] = true;
  }
  for (size_t n = old_nodes.size(); n-- > 1;) {
    if (!needed[n]) continue;
    for (Item item : old_nodes[n].returns) needed[NodeOf(item)] = true;
  }
  std::vector<NodeId> renumbered(old_nodes.size(), 0);
  auto renumber = [&](Items& items) {
    for (Item& item : items) item = MakeItem(StateOf(item), renumbered[NodeOf(item)]);
  };
  for (size_t n = 1; n < old_nodes.size(); ++n) {
    if (!needed[n]) continue;
    renumber(old_nodes[n].returns);
    renumbered[n] = InternNode(std::move(old_nodes[n].returns));
  }
  for (SituationId& id : live) {
    Items items = old[id].items;
    renumber(items);
    SortUnique(items);
    id = Intern(std::move(items), old[id].may_end);
  }
}

}  // namespace bantam::grammar
