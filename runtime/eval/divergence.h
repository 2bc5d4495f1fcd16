// How far one model's predictions are from another's, such as a quantized model's from the
// original's: the statistics of llama.cpp's perplexity tool, so that figures can be compared.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "runtime/base/thread_pool.h"
#include "runtime/engine/engine.h"
#include "runtime/eval/log_probs_file.h"

namespace bantam::eval {

// One scored token.
struct TokenDivergence {
  double base_nll = 0;  // -log p of the token that came, by the base model
  double nll = 0;       // by the model
  double kl = 0;        // sum over the vocabulary of p_base (log p_base - log p), nats
  bool same_top = false;
};

// Kullback-Leibler divergence of softmax(logits) from the distribution with these distances
// (log_probs.h), in nats. Infinite when a token that the base holds possible has a logit of -inf.
double KlDivergence(std::span<const float> base_distances, std::span<const float> logits);

struct Estimate {
  double value = 0;
  double error = 0;  // one standard error
};

struct DivergenceSummary {
  int64_t count = 0;  // tokens
  Estimate perplexity, base_perplexity;
  double correlation = 0;  // of the tokens' NLLs
  Estimate log_ratio;      // ln(perplexity / base)
  Estimate ratio;          // perplexity / base
  Estimate difference;     // perplexity - base
  Estimate kl;             // mean
  double kl_max = 0, kl_min = 0;
  Estimate delta_p;      // mean of p - p_base of the token that came
  Estimate delta_p_rms;  // root of the mean of its square
  Estimate same_top;     // share of tokens where both find the same one most likely
};

class Divergence {
 public:
  void Add(const TokenDivergence& token) {
    tokens_.push_back(token);
    kl_sum_ += token.kl;
  }
  int64_t count() const { return static_cast<int64_t>(tokens_.size()); }
  double MeanKl() const { return kl_sum_ / static_cast<double>(count()); }
  // Of at least two tokens; errors come from the spread of the single tokens, differences of the
  // models count as correlated, and functions of means are taken to first order.
  DivergenceSummary Summarize() const;
  // The value that the share `fraction` of tokens does not exceed, between neighbours linearly.
  double KlPercentile(double fraction) const;
  double DeltaPPercentile(double fraction) const;

 private:
  std::vector<TokenDivergence> tokens_;
  double kl_sum_ = 0;
};

struct DivergenceResult {
  Divergence divergence;
  int64_t windows = 0;     // measured so far
  int64_t of_windows = 0;  // asked for
};

// Reads the text that `base` was made on, or only its first max_windows windows if that is not 0,
// and compares. The session's context holds at least a window of it. `progress` as in
// MeasurePerplexity.
absl::StatusOr<DivergenceResult> MeasureDivergence(
    engine::Session& session, const LogProbsFile& base, int64_t max_windows, ThreadPool& pool,
    absl::FunctionRef<bool(const DivergenceResult& so_far)> progress);

}  // namespace bantam::eval
