// Perplexity of a model on a text, by the protocol of llama.cpp's perplexity tool, so that figures
// can be compared.
#pragma once

#include <cstdint>
#include <span>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "runtime/engine/engine.h"

namespace bantam::eval {

// Negative log-likelihood of `target` under softmax(logits), in nats. `logits` not empty, target
// within it.
double NegativeLogLikelihood(std::span<const float> logits, tokenizer::TokenId target);

// Mean of the negative log-likelihoods of scored tokens, and what follows from it.
class Score {
 public:
  void Add(double nll) {
    ++count_;
    sum_ += nll;
    squares_ += nll * nll;
  }
  int64_t count() const { return count_; }
  double MeanNll() const;
  // exp(MeanNll())
  double Perplexity() const;
  // One standard error of Perplexity(): that of the mean by the spread of the single tokens,
  // carried through exp to first order. NaN for fewer than two tokens.
  double StandardError() const;

 private:
  int64_t count_ = 0;
  double sum_ = 0;
  double squares_ = 0;
};

struct PerplexityOptions {
  int64_t window = 512;     // tokens
  int64_t max_windows = 0;  // 0: all whole windows of the text
};

struct PerplexityResult {
  Score score;
  int64_t windows = 0;     // measured so far
  int64_t of_windows = 0;  // asked for
};

inline constexpr int64_t kMinWindow = 8;

// Cuts `tokens` into windows that do not overlap; what is left at the end is not used. Each window
// is read from an empty context, its first token replaced by BOS where the vocabulary asks for
// one. Its first half is context only: the tokens after position window/2 are scored. `progress` is
// called after each window and ends the measurement early by returning false.
//
// kInvalidArgument for a window shorter than kMinWindow or longer than the session's context, or a
// text shorter than one window. The session is emptied first.
absl::StatusOr<PerplexityResult> MeasurePerplexity(
    engine::Session& session, std::span<const tokenizer::TokenId> tokens,
    const PerplexityOptions& options,
    absl::FunctionRef<bool(const PerplexityResult& so_far)> progress);

}  // namespace bantam::eval
