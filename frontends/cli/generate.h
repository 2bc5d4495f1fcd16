// From a prompt to an answer, token by token.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/engine/engine.h"
#include "runtime/sample/sampler.h"

namespace bantam::cli {

enum class StopReason : uint8_t { kEndOfGeneration, kLength, kContextFull, kInterrupted };
// "end_of_generation", "length", "context_full", "interrupted"
absl::string_view StopReasonName(StopReason reason);

struct Counts {
  int64_t prompt_tokens = 0;     // processed
  int64_t reused_tokens = 0;     // of the prompt, found in the KV cache
  int64_t generated_tokens = 0;  // that which ends the generation included
  int64_t decode_steps = 0;      // one fewer than that when the last token was not fed back
  double prompt_seconds = 0;
  double generate_seconds = 0;

  void Add(const Counts& other);
  double prompt_speed() const;  // tokens per second; 0 when there were none
  double generate_speed() const;
};

struct Answer {
  std::string text;
  StopReason stop = StopReason::kEndOfGeneration;
  Counts counts;
};

struct GenerateOptions {
  sample::Params sampling;
  int64_t max_tokens = -1;  // -1: until the end or a full context
  bool ignore_eos = false;  // never pick a token that ends the generation
};

// Keeps the tokens in a session's KV cache, so that a prompt that begins as the text so far did
// costs only what is new. Not thread-safe.
class Generator {
 public:
  // `session` must be empty and outlive this.
  Generator(engine::Session& session, const GenerateOptions& options);

  // The prompt's tokens: control tokens in `text` are recognised; a BOS is put before them where
  // the vocabulary asks for one and the text does not begin with it.
  std::vector<tokenizer::TokenId> Encode(absl::string_view text) const;

  // Answers with `seed`. `emit` gets the text as it becomes whole characters; an error it returns
  // ends the generation and is passed on. `stop` is asked between steps; when it is true the
  // answer so far is returned. kResourceExhausted when the prompt does not fit in the context,
  // kInvalidArgument when it is empty.
  absl::StatusOr<Answer> Generate(std::span<const tokenizer::TokenId> prompt, uint64_t seed,
                                  absl::FunctionRef<absl::Status(absl::string_view)> emit,
                                  absl::FunctionRef<bool()> stop);

 private:
  // Feeds what of the prompt is not cached; false when stopped.
  absl::StatusOr<bool> Prefill(std::span<const tokenizer::TokenId> prompt, Counts& counts,
                               absl::FunctionRef<bool()> stop);
  absl::Status Feed(std::span<const tokenizer::TokenId> tokens, engine::LogitsMode mode);
  std::span<const float> Logits();

  engine::Session& session_;
  GenerateOptions options_;
  std::vector<tokenizer::TokenId> cached_;   // what the session holds
  std::vector<tokenizer::TokenId> endings_;  // with ignore_eos: tokens never to pick
  std::vector<float> masked_logits_;         // with ignore_eos
};

}  // namespace bantam::cli
