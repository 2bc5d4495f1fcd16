// From a prompt to an answer, token by token.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "frontends/cli/think.h"
#include "runtime/engine/engine.h"
#include "runtime/engine/generator.h"
#include "runtime/grammar/grammar.h"
#include "runtime/sample/sampler.h"

namespace bantam::cli {

enum class StopReason : uint8_t { kEndOfGeneration, kLength, kContextFull, kInterrupted };
// "end_of_generation", "length", "context_full", "interrupted"
absl::string_view StopReasonName(StopReason reason);

struct Counts {
  int64_t prompt_tokens = 0;     // processed
  int64_t reused_tokens = 0;     // of the prompt, found in the KV cache
  int64_t generated_tokens = 0;  // that which ends the generation included
  double prompt_seconds = 0;
  double generate_seconds = 0;
  engine::GeneratorCounts steps;
  int64_t answers = 0;

  void Add(const Counts& other);
  double prompt_speed() const;  // tokens per second; 0 when there were none
  // The first token of an answer comes with the prompt.
  double generate_speed() const;
  // Against steps of one token each; 0 when nothing was drafted.
  double speculation_gain() const;
};

struct Answer {
  std::string text;       // without reasoning
  std::string reasoning;  // without its marks
  std::string shown;      // what was emitted last
  StopReason stop = StopReason::kEndOfGeneration;
  Counts counts;
};

enum class Think : uint8_t { kShow, kHide, kOff };

struct GenerateOptions {
  sample::Params sampling;
  int64_t max_tokens = -1;  // -1: until the end or a full context
  bool ignore_eos = false;  // never pick a token that ends the generation
  bool context_shift = false;
  int64_t keep = -1;  // tokens that a context shift never forgets; -1: see Generate
  Think think = Think::kShow;
  bool raw = false;  // text is continued: nothing in it is reasoning
  std::shared_ptr<const grammar::Grammar> grammar;
  std::shared_ptr<engine::Drafter> drafter;
  int64_t draft_tokens = 0;

  // Whether the tokens chosen are the likeliest, so that the session need not give their logits.
  bool takes_likeliest() const {
    return sample::IsGreedy(sampling) && !ignore_eos && grammar == nullptr;
  }
};

// Keeps the tokens in a session's KV cache, so that a prompt that begins as the text so far did
// costs only what is new. Not thread-safe.
class Generator {
 public:
  // `reasoning`: shown dimmed where possible.
  using Emit = absl::FunctionRef<absl::Status(absl::string_view text, bool reasoning)>;

  // `session` must outlive this.
  Generator(engine::Session& session, const GenerateOptions& options);

  // The prompt's tokens: control tokens in `text` are recognised; a BOS is put before them where
  // the vocabulary asks for one and the text does not begin with it.
  std::vector<tokenizer::TokenId> Encode(absl::string_view text) const;

  // Answers with `seed`. `emit` gets the text as it becomes whole characters; an error it returns
  // ends the generation and is passed on. `stop` is asked between steps; when it is true the
  // answer so far is returned. A context shift keeps the first `keep` tokens where the options do
  // not say; -1: a BOS. kResourceExhausted when the prompt does not fit in the context,
  // kInvalidArgument when it is empty.
  absl::StatusOr<Answer> Generate(absl::string_view prompt, uint64_t seed, Emit emit,
                                  absl::FunctionRef<bool()> stop, int64_t keep = -1);

  engine::Session& session() { return session_; }
  const GenerateOptions& options() const { return options_; }

 private:
  // Feeds what of the prompt is not cached; false when stopped.
  absl::StatusOr<bool> Prefill(std::span<const tokenizer::TokenId> prompt, Counts& counts,
                               absl::FunctionRef<bool()> stop);

  engine::Session& session_;
  GenerateOptions options_;
  std::optional<grammar::Matcher> matcher_;
  std::vector<tokenizer::TokenId> mark_tokens_;  // control tokens to be read as text
};

}  // namespace bantam::cli
