// Perplexity of a model on a text, by the protocol of llama.cpp's perplexity tool, so that figures
// can be compared.
#pragma once

#include <cstdint>
#include <span>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "runtime/engine/engine.h"
#include "runtime/eval/windows.h"

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

using PerplexityOptions = WindowOptions;

struct PerplexityResult {
  Score score;
  int64_t windows = 0;     // measured so far
  int64_t of_windows = 0;  // asked for
};

// `progress` is called after each window and ends the measurement early by returning false; `also`
// after each batch, as by ScoreWindow, while its logits are there.
absl::StatusOr<PerplexityResult> MeasurePerplexity(
    engine::Session& session, const Windows& windows, BatchFn also,
    absl::FunctionRef<bool(const PerplexityResult& so_far)> progress);

// The same for the windows that CutWindows makes of `tokens`.
absl::StatusOr<PerplexityResult> MeasurePerplexity(
    engine::Session& session, std::span<const tokenizer::TokenId> tokens,
    const PerplexityOptions& options,
    absl::FunctionRef<bool(const PerplexityResult& so_far)> progress);

}  // namespace bantam::eval
