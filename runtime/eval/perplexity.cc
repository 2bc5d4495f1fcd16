#include "runtime/eval/perplexity.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "absl/strings/str_format.h"
#include "runtime/base/status.h"

namespace bantam::eval {

using engine::LogitsMode;
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

namespace {

absl::Status ScoreWindow(engine::Session& session, std::span<const TokenId> window, Score& score) {
  const int64_t size = static_cast<int64_t>(window.size());
  const int64_t first = size / 2;  // the first position whose prediction counts
  BANTAM_RETURN_IF_ERROR(session.Truncate(0));
  BANTAM_RETURN_IF_ERROR(session.Decode(window.first(first), LogitsMode::kNone));
  // The last position predicts a token of the next window, which is not scored.
  for (int64_t begin = first; begin < size - 1;) {
    const int64_t count = std::min(session.ubatch(), size - 1 - begin);
    BANTAM_RETURN_IF_ERROR(session.Decode(window.subspan(begin, count), LogitsMode::kAll));
    for (int64_t row = 0; row < count; ++row) {
      score.Add(NegativeLogLikelihood(session.Logits(row), window[begin + row + 1]));
    }
    begin += count;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PerplexityResult> MeasurePerplexity(
    engine::Session& session, std::span<const TokenId> tokens, const PerplexityOptions& options,
    absl::FunctionRef<bool(const PerplexityResult& so_far)> progress) {
  if (options.window < kMinWindow || options.window > session.context()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("a window of %d tokens was asked for; expected %d to %d", options.window,
                        kMinWindow, session.context()));
  }
  const int64_t whole = static_cast<int64_t>(tokens.size()) / options.window;
  if (whole == 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("the text has %d tokens, but one window takes %d; use a longer text or a "
                        "smaller window",
                        tokens.size(), options.window));
  }
  PerplexityResult result;
  result.of_windows = options.max_windows > 0 ? std::min(options.max_windows, whole) : whole;
  const tokenizer::SpecialTokens& special = session.model().tokenizer().special();
  std::vector<TokenId> window(options.window);
  while (result.windows < result.of_windows) {
    const auto from = tokens.begin() + result.windows * options.window;
    std::copy(from, from + options.window, window.begin());
    if (special.add_bos && special.bos != tokenizer::kNoToken) window[0] = special.bos;
    BANTAM_RETURN_IF_ERROR(ScoreWindow(session, window, result.score));
    ++result.windows;
    if (!progress(result)) break;
  }
  return result;
}

}  // namespace bantam::eval
