// A grammar as an automaton over bytes.
//
// Every rule is a nondeterministic automaton whose states have byte edges, calls of other rules and
// token edges, with the empty moves already resolved. Characters are spelt out in UTF-8, so that a
// token may end within one. The matcher (matcher.h) runs the automaton with a stack of return
// states.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/grammar/syntax.h"

namespace bantam::grammar {

using StateId = uint32_t;

struct ByteEdge {
  uint8_t first, last;  // both included
  StateId to;
  auto operator<=>(const ByteEdge&) const = default;
};
// Runs a rule, then goes on from `to`.
struct CallEdge {
  uint32_t rule;
  StateId to;
  auto operator<=>(const CallEdge&) const = default;
};
struct TokenEdge {
  tokenizer::TokenId token;
  bool negated;
  StateId to;
  auto operator<=>(const TokenEdge&) const = default;
  bool Takes(tokenizer::TokenId id) const { return (id == token) != negated; }
};

// What can follow in a state, before anything else is read. A call of a rule that may be empty
// also stands for its absence.
struct State {
  std::vector<ByteEdge> bytes;
  std::vector<CallEdge> calls;
  std::vector<TokenEdge> tokens;
  bool accepting = false;  // the rule may end here

  bool OnlyEnds() const { return accepting && bytes.empty() && calls.empty() && tokens.empty(); }
};

// Immutable and thread-safe.
class Grammar {
 public:
  // kInvalidArgument names what is wrong (ParseGbnf), a rule that is left-recursive, or a grammar
  // with more than a million states.
  static absl::StatusOr<std::shared_ptr<const Grammar>> FromGbnf(
      absl::string_view text, const tokenizer::Tokenizer* tokenizer = nullptr);
  // From a JSON schema (json_schema.h).
  static absl::StatusOr<std::shared_ptr<const Grammar>> FromJsonSchema(absl::string_view schema);

  const State& state(StateId id) const { return states_[id]; }
  size_t state_count() const { return states_.size(); }
  // Where a rule begins.
  StateId entry(uint32_t rule) const { return entries_[rule]; }
  size_t rule_count() const { return entries_.size(); }
  // Rules are numbered so that a rule that can begin with another has the lower rank.
  uint32_t rank(uint32_t rule) const { return ranks_[rule]; }
  // State 0 calls the root rule; what it goes on to ends the text.
  static constexpr StateId kStart = 0;
  // Bytes that no edge tells apart are in one class.
  uint8_t byte_class(uint8_t byte) const { return byte_class_[byte]; }
  int byte_class_count() const { return byte_class_count_; }

 private:
  friend class Compiler;
  Grammar() = default;

  std::vector<State> states_;
  std::vector<StateId> entries_;
  std::vector<uint32_t> ranks_;
  std::array<uint8_t, 256> byte_class_{};
  int byte_class_count_ = 0;
};

}  // namespace bantam::grammar
