#include "runtime/eval/perplexity.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "runtime/base/status.h"

namespace bantam::eval {

using tokenizer::TokenId;

double NegativeLogLikelihood(std::span<const float> logits, TokenId target) {
  const float peak = *std::max_element(logits.begin(), logits.end());
  // The terms are at most 1 and their rounding errors average out; their sum, up to the size of
  // the vocabulary, is what needs the double.
  double sum = 0;
  for (float logit : logits) sum += std::exp(logit - peak);
  return std::log(sum) + (double{peak} - double{logits[target]});
}

double Score::MeanNll() const { return sum_ / static_cast<double>(count_); }

double Score::Perplexity() const { return std::exp(MeanNll()); }

double Score::StandardError() const {
  if (count_ < 2) return std::numeric_limits<double>::quiet_NaN();
  const double mean = MeanNll();
  const double variance = std::max(0.0, squares_ / static_cast<double>(count_) - mean * mean);
  return std::sqrt(variance / static_cast<double>(count_ - 1)) * Perplexity();
}

absl::StatusOr<PerplexityResult> MeasurePerplexity(
    engine::Session& session, const Windows& windows, BatchFn also,
    absl::FunctionRef<bool(const PerplexityResult& so_far)> progress) {
  PerplexityResult result;
  result.of_windows = windows.count;
  const auto score = [&](std::span<const TokenId> targets) {
    for (size_t row = 0; row < targets.size(); ++row) {
      const std::span<const float> logits = session.Logits(static_cast<int64_t>(row));
      result.score.Add(NegativeLogLikelihood(logits, targets[row]));
    }
    return also(targets);
  };
  while (result.windows < windows.count) {
    BANTAM_RETURN_IF_ERROR(ScoreWindow(session, windows, result.windows, score));
    ++result.windows;
    if (!progress(result)) break;
  }
  return result;
}

absl::StatusOr<PerplexityResult> MeasurePerplexity(
    engine::Session& session, std::span<const TokenId> tokens, const PerplexityOptions& options,
    absl::FunctionRef<bool(const PerplexityResult& so_far)> progress) {
  BANTAM_ASSIGN_OR_RETURN(const Windows windows, CutWindows(session, tokens, options));
  return MeasurePerplexity(
      session, windows, [](std::span<const TokenId>) { return absl::OkStatus(); }, progress);
}

}  // namespace bantam::eval
