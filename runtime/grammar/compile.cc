// From syntax to automaton: Thompson's construction, then the empty moves resolved.

#include <algorithm>
#include <bitset>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/grammar/grammar.h"
#include "runtime/grammar/json_schema.h"
#include "runtime/grammar/utf8_ranges.h"

namespace bantam::grammar {
namespace {

constexpr size_t kMaxStates = size_t{1} << 20;
// Edges of all states once the empty moves are resolved.
constexpr size_t kMaxEdges = size_t{1} << 23;

template <typename T>
void SortUnique(std::vector<T>& v) {
  std::sort(v.begin(), v.end());
  v.erase(std::unique(v.begin(), v.end()), v.end());
}

}  // namespace

class Compiler {
 public:
  explicit Compiler(const Syntax& syntax) : syntax_(syntax) {}

  absl::StatusOr<std::shared_ptr<const Grammar>> Compile() {
    grammar_ = std::shared_ptr<Grammar>(new Grammar);
    NewState();  // kStart
    const StateId end = NewState();
    grammar_->states_[end].accepting = true;
    grammar_->states_[Grammar::kStart].calls.push_back({static_cast<uint32_t>(syntax_.root), end});
    for (const Rule& rule : syntax_.rules) {
      names_.push_back(rule.name);
      grammar_->entries_.push_back(NewState());
    }
    for (size_t i = 0; i < syntax_.rules.size(); ++i) {
      const StateId exit = NewState();
      grammar_->states_[exit].accepting = true;
      Build(syntax_.rules[i].body, grammar_->entries_[i], exit);
    }
    if (grammar_->states_.size() > kMaxStates) return TooLarge();
    FindNullable();
    if (!ResolveEmptyMoves()) return TooLarge();
    BANTAM_RETURN_IF_ERROR(RankRules());
    ClassifyBytes();
    return std::shared_ptr<const Grammar>(std::move(grammar_));
  }

 private:
  static absl::Status TooLarge() {
    return absl::InvalidArgumentError(
        "the grammar is too large: its rules and repetitions make more than a million states");
  }

  // Past kMaxStates everything lands in one state, and Compile fails.
  StateId NewState() {
    if (grammar_->states_.size() <= kMaxStates) {
      grammar_->states_.emplace_back();
      empty_.emplace_back();
    }
    return static_cast<StateId>(grammar_->states_.size() - 1);
  }
  bool Full() const { return grammar_->states_.size() > kMaxStates; }
  State& At(StateId id) { return grammar_->states_[id]; }

  // Makes every text of `e` a way from `from` to `to`. Nothing made here leads back into `from`
  // or on from `to`.
  void Build(const Expr& e, StateId from, StateId to) {
    if (Full()) return;
    switch (e.kind) {
      case Expr::Kind::kLiteral: {
        for (size_t i = 0; i < e.literal.size(); ++i) {
          const auto byte = static_cast<uint8_t>(e.literal[i]);
          const StateId next = i + 1 == e.literal.size() ? to : NewState();
          At(from).bytes.push_back({byte, byte, next});
          from = next;
        }
        if (e.literal.empty()) empty_[from].push_back(to);
        return;
      }
      case Expr::Kind::kClass:
        return BuildClass(e, from, to);
      case Expr::Kind::kRule:
        At(from).calls.push_back({static_cast<uint32_t>(e.rule), to});
        return;
      case Expr::Kind::kToken:
        At(from).tokens.push_back({e.token, e.negated, to});
        return;
      case Expr::Kind::kSequence: {
        for (size_t i = 0; i < e.children.size(); ++i) {
          const StateId next = i + 1 == e.children.size() ? to : NewState();
          Build(e.children[i], from, next);
          from = next;
        }
        if (e.children.empty()) empty_[from].push_back(to);
        return;
      }
      case Expr::Kind::kChoice:
        for (const Expr& child : e.children) Build(child, from, to);
        return;
      case Expr::Kind::kRepeat:
        return BuildRepeat(e, from, to);
    }
  }

  void BuildRepeat(const Expr& e, StateId from, StateId to) {
    for (int64_t i = 0; i < e.min && !Full(); ++i) {
      const StateId next = NewState();
      Build(e.children[0], from, next);
      from = next;
    }
    if (e.max == Expr::kUnlimited) {
      const StateId loop = NewState();
      empty_[from].push_back(loop);
      Build(e.children[0], loop, loop);
      empty_[loop].push_back(to);
      return;
    }
    for (int64_t i = e.min; i < e.max && !Full(); ++i) {
      const StateId next = NewState();
      empty_[from].push_back(to);
      Build(e.children[0], from, next);
      from = next;
    }
    empty_[from].push_back(to);
  }

  // ASCII in place; the rest in a rule of its own, made once for each class, as it takes many
  // states.
  void BuildClass(const Expr& e, StateId from, StateId to) {
    std::vector<Utf8Range> longer;
    std::string key;
    for (const CharRange& range : e.ranges) {
      if (range.first < 0x80) {
        At(from).bytes.push_back({static_cast<uint8_t>(range.first),
                                  static_cast<uint8_t>(std::min<char32_t>(range.last, 0x7F)), to});
      }
      if (range.last < 0x80) continue;
      const CharRange rest = {std::max<char32_t>(range.first, 0x80), range.last};
      absl::StrAppend(&key, absl::Hex(rest.first), "-", absl::Hex(rest.last), " ");
      AppendUtf8Ranges(rest, longer);
    }
    if (longer.empty()) return;
    auto [entry, added] = classes_.try_emplace(key, grammar_->entries_.size());
    const auto rule = static_cast<uint32_t>(entry->second);
    if (added) {
      const StateId start = NewState(), exit = NewState();
      At(exit).accepting = true;
      grammar_->entries_.push_back(start);
      names_.push_back("a class of characters");
      for (const Utf8Range& range : longer) {
        StateId at = start;
        for (int i = 0; i < range.length; ++i) {
          const StateId next = i + 1 == range.length ? exit : NewState();
          At(at).bytes.push_back({range.first[i], range.last[i], next});
          at = next;
        }
      }
    }
    At(from).calls.push_back({rule, to});
  }

  // Rules with an empty text.
  void FindNullable() {
    const size_t rules = grammar_->entries_.size();
    nullable_.assign(rules, false);
    // Which states wait for a rule to turn out nullable, and which rule's search they belong to.
    struct Waiting {
      uint32_t rule;
      StateId to;
    };
    std::vector<std::vector<Waiting>> waiting(rules);
    std::vector<uint32_t> reached_by(grammar_->states_.size(), UINT32_MAX);
    std::vector<Waiting> work;
    for (uint32_t r = 0; r < rules; ++r) work.push_back({r, grammar_->entries_[r]});
    while (!work.empty()) {
      const Waiting at = work.back();
      work.pop_back();
      if (nullable_[at.rule] || reached_by[at.to] == at.rule) continue;
      reached_by[at.to] = at.rule;  // a state belongs to one rule
      const State& state = At(at.to);
      if (state.accepting) {
        nullable_[at.rule] = true;
        work.insert(work.end(), waiting[at.rule].begin(), waiting[at.rule].end());
        continue;
      }
      for (StateId to : empty_[at.to]) work.push_back({at.rule, to});
      for (const CallEdge& call : state.calls) {
        if (nullable_[call.rule]) {
          work.push_back({at.rule, call.to});
        } else {
          waiting[call.rule].push_back({at.rule, call.to});
        }
      }
    }
  }

  // Gives every state what its empty moves lead to. False when that is too much.
  bool ResolveEmptyMoves() {
    std::vector<State> resolved(grammar_->states_.size());
    std::vector<StateId> seen_from(grammar_->states_.size(), UINT32_MAX), work;
    size_t edges = 0;
    for (StateId s = 0; s < resolved.size(); ++s) {
      State& into = resolved[s];
      work.assign(1, s);
      while (!work.empty()) {
        const StateId at = work.back();
        work.pop_back();
        if (seen_from[at] == s) continue;
        seen_from[at] = s;
        const State& state = At(at);
        into.accepting |= state.accepting;
        into.bytes.insert(into.bytes.end(), state.bytes.begin(), state.bytes.end());
        into.calls.insert(into.calls.end(), state.calls.begin(), state.calls.end());
        into.tokens.insert(into.tokens.end(), state.tokens.begin(), state.tokens.end());
        work.insert(work.end(), empty_[at].begin(), empty_[at].end());
        for (const CallEdge& call : state.calls) {
          if (nullable_[call.rule]) work.push_back(call.to);
        }
        if (++edges > kMaxEdges) return false;
      }
      SortUnique(into.bytes);
      SortUnique(into.calls);
      SortUnique(into.tokens);
      edges += into.bytes.size() + into.calls.size() + into.tokens.size();
      if (edges > kMaxEdges) return false;
    }
    grammar_->states_ = std::move(resolved);
    return true;
  }

  // Topological order of "can begin with", by depth-first search; a cycle is left recursion.
  absl::Status RankRules() {
    enum Mark : uint8_t { kNew, kOpen, kDone };
    const size_t rules = grammar_->entries_.size();
    std::vector<Mark> marks(rules, kNew);
    grammar_->ranks_.assign(rules, 0);
    auto next_rank = static_cast<uint32_t>(rules);
    struct Visit {
      uint32_t rule;
      size_t next;
    };
    std::vector<Visit> path;
    for (uint32_t root = 0; root < rules; ++root) {
      if (marks[root] == kNew) {
        path.push_back({root, 0});
        marks[root] = kOpen;
      }
      while (!path.empty()) {
        Visit& top = path.back();
        const std::vector<CallEdge>& calls = At(grammar_->entries_[top.rule]).calls;
        if (top.next == calls.size()) {
          marks[top.rule] = kDone;
          grammar_->ranks_[top.rule] = --next_rank;
          path.pop_back();
          continue;
        }
        const uint32_t callee = calls[top.next++].rule;
        if (marks[callee] == kDone) continue;
        if (marks[callee] == kOpen) {
          std::string cycle;
          size_t begin = path.size() - 1;
          while (path[begin].rule != callee) --begin;
          for (size_t i = begin; i < path.size() && i < begin + 8; ++i) {
            absl::StrAppend(&cycle, names_[path[i].rule], " -> ");
          }
          return absl::InvalidArgumentError(absl::StrCat(
              "rule '", names_[callee], "' is left-recursive (", cycle, names_[callee],
              "): it can begin with itself, so it would never end; write it as a repetition"));
        }
        marks[callee] = kOpen;
        path.push_back({callee, 0});
      }
    }
    return absl::OkStatus();
  }

  void ClassifyBytes() {
    std::bitset<257> starts;
    starts[0] = true;
    for (const State& state : grammar_->states_) {
      for (const ByteEdge& edge : state.bytes) {
        starts[edge.first] = true;
        starts[edge.last + 1] = true;
      }
    }
    int next = -1;
    for (int b = 0; b < 256; ++b) {
      next += starts[b];
      grammar_->byte_class_[b] = static_cast<uint8_t>(next);
    }
    grammar_->byte_class_count_ = next + 1;
  }

  const Syntax& syntax_;
  std::shared_ptr<Grammar> grammar_;
  std::vector<std::string> names_;           // of rules, by index
  std::vector<std::vector<StateId>> empty_;  // empty moves, by state
  std::map<std::string, size_t> classes_;    // rules of non-ASCII characters
  std::vector<bool> nullable_;               // by rule
};

absl::StatusOr<std::shared_ptr<const Grammar>> Grammar::FromGbnf(
    absl::string_view text, const tokenizer::Tokenizer* tokenizer) {
  BANTAM_ASSIGN_OR_RETURN(const Syntax syntax, ParseGbnf(text, tokenizer));
  return Compiler(syntax).Compile();
}

absl::StatusOr<std::shared_ptr<const Grammar>> Grammar::FromJsonSchema(absl::string_view schema) {
  BANTAM_ASSIGN_OR_RETURN(const std::string text, JsonSchemaToGbnf(schema));
  return FromGbnf(text);
}

}  // namespace bantam::grammar
