// Continuing a session's text token by token: sampling, grammar, speculation, context shift.
//
// Speculative decoding: a drafter guesses the next tokens, one step computes the logits after each
// of them, and the sampler chooses from these one after the other. As long as it chooses what was
// guessed, no further step is needed. So every token comes from the distribution it would come
// from without drafts; and as the steps compute the same logits whatever their size, a seed gives
// the same text with and without.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/engine/drafter.h"
#include "runtime/engine/engine.h"
#include "runtime/grammar/matcher.h"
#include "runtime/sample/sampler.h"

namespace bantam::engine {

struct GeneratorOptions {
  bool context_shift = false;  // when the context is full, forget the older half of the text ...
  int64_t keep = 0;            // ... after its first `keep` tokens
  int64_t draft_tokens = 0;    // most in a draft; the session needs verify_rows one more
};

struct GeneratorCounts {
  int64_t steps = 0;    // of the session, each with the pending token and a draft
  int64_t drafted = 0;  // tokens
  int64_t accepted = 0;
  int64_t shifts = 0;
  // Steps without a draft, whose time is what a token costs without speculation.
  int64_t plain_steps = 0;
  double plain_seconds = 0;
};

// Not thread-safe.
class Generator {
 public:
  enum class Stop : uint8_t { kNone, kEndOfGeneration, kGrammarEnded, kContextFull };
  struct Next {
    TokenId token = tokenizer::kNoToken;  // kNoToken with kContextFull
    // kEndOfGeneration: the token ends the answer and is no part of its text. kGrammarEnded: it is
    // the last one the grammar has room for.
    Stop stop = Stop::kNone;
  };

  // All must outlive this; `grammar` and `drafter` may be null. The session holds the prompt, and
  // its last decode computed logits.
  Generator(Session& session, sample::Sampler& sampler, grammar::Matcher* grammar, Drafter* drafter,
            const GeneratorOptions& options);

  // The next token, told to sampler and grammar. It becomes part of the session's text with the
  // step that follows it. `most`: as many tokens as will still be asked for, this one included;
  // drafts are no longer than that.
  absl::StatusOr<Next> operator()(int64_t most);

  // Takes drafted tokens that were not chosen out of the session; to be called before anything else
  // uses it. With `feed`, the last token goes into it too, if there is room, and its logits are
  // there.
  absl::Status Settle(bool feed);

  const GeneratorCounts& counts() const { return counts_; }

 private:
  // A step with the pending token; false when the context is full.
  absl::StatusOr<bool> Step(int64_t most);

  Session& session_;
  sample::Sampler& sampler_;
  grammar::Matcher* const grammar_;
  Drafter* const drafter_;
  const GeneratorOptions options_;
  GeneratorCounts counts_;
  std::optional<TokenId> pending_;  // chosen, but not yet in the session
  std::vector<TokenId> batch_;      // of the last step: the pending token and the draft
  int64_t row_ = 0;                 // of the logits to choose from; batch_[row_ + 1] was guessed
};

}  // namespace bantam::engine
