#include "runtime/eval/divergence.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"
#include "runtime/base/status.h"
#include "runtime/eval/log_probs.h"
#include "runtime/eval/perplexity.h"

namespace bantam::eval {
namespace {

using tokenizer::TokenId;

// Means of two quantities, and of their products with themselves and each other.
class Moments {
 public:
  void Add(double x, double y = 0) {
    ++count_;
    // From the first values on, so that the sums of squares lose nothing to a large mean.
    if (count_ == 1) origin_x_ = x, origin_y_ = y;
    x -= origin_x_;
    y -= origin_y_;
    x_ += x, y_ += y, xx_ += x * x, yy_ += y * y, xy_ += x * y;
  }
  double MeanX() const { return origin_x_ + x_ / Count(); }
  double MeanY() const { return origin_y_ + y_ / Count(); }
  // Variances and covariance of the means.
  double VarianceX() const { return Of(xx_, x_, x_); }
  double VarianceY() const { return Of(yy_, y_, y_); }
  double Covariance() const { return Of(xy_, x_, y_); }
  Estimate X() const { return {MeanX(), std::sqrt(std::max(0.0, VarianceX()))}; }

 private:
  double Count() const { return static_cast<double>(count_); }
  double Of(double product, double a, double b) const {
    return (product / Count() - a / Count() * (b / Count())) / (Count() - 1);
  }

  int64_t count_ = 0;
  double origin_x_ = 0, origin_y_ = 0;
  double x_ = 0, y_ = 0, xx_ = 0, yy_ = 0, xy_ = 0;
};

double Percentile(std::vector<double> values, double fraction) {
  if (values.empty()) return std::nan("");
  std::sort(values.begin(), values.end());
  const double at = fraction * static_cast<double>(values.size() - 1);
  const auto low = static_cast<size_t>(at);
  const double between = at - static_cast<double>(low);
  if (between == 0) return values[low];  // where the next may be infinite, or not there
  return values[low] + between * (values[low + 1] - values[low]);
}

double DeltaP(const TokenDivergence& token) {
  return std::exp(-token.nll) - std::exp(-token.base_nll);
}

}  // namespace

double KlDivergence(std::span<const float> base_distances, std::span<const float> logits) {
  const float peak = *std::max_element(logits.begin(), logits.end());
  // With e = exp(-distance) and f = exp(logit - peak): p_base = e / base and p = f / model.
  double base = 0, model = 0, difference = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const float log_f = logits[i] - peak;
    model += std::exp(log_f);
    if (std::isinf(base_distances[i])) continue;  // contributes nothing, however unlikely it is now
    const double e = std::exp(-base_distances[i]);
    base += e;
    difference += e * (-double{base_distances[i]} - double{log_f});
  }
  return difference / base - std::log(base) + std::log(model);
}

double Divergence::KlPercentile(double fraction) const {
  std::vector<double> values;
  for (const TokenDivergence& token : tokens_) values.push_back(token.kl);
  return Percentile(std::move(values), fraction);
}

double Divergence::DeltaPPercentile(double fraction) const {
  std::vector<double> values;
  for (const TokenDivergence& token : tokens_) values.push_back(DeltaP(token));
  return Percentile(std::move(values), fraction);
}

DivergenceSummary Divergence::Summarize() const {
  Moments nll, kl, delta_p, squared_delta_p, same;
  DivergenceSummary s;
  s.count = count();
  s.kl_max = -INFINITY;
  s.kl_min = INFINITY;
  for (const TokenDivergence& token : tokens_) {
    nll.Add(token.nll, token.base_nll);
    kl.Add(token.kl);
    s.kl_max = std::max(s.kl_max, token.kl);
    s.kl_min = std::min(s.kl_min, token.kl);
    const double difference = DeltaP(token);
    delta_p.Add(difference);
    squared_delta_p.Add(difference * difference);
    same.Add(token.same_top ? 1 : 0);
  }
  const double var = nll.VarianceX(), base_var = nll.VarianceY(), cov = nll.Covariance();
  const double ppl = std::exp(nll.MeanX()), base_ppl = std::exp(nll.MeanY());
  s.perplexity = {ppl, ppl * std::sqrt(var)};
  s.base_perplexity = {base_ppl, base_ppl * std::sqrt(base_var)};
  s.correlation = var > 0 && base_var > 0 ? cov / std::sqrt(var * base_var) : std::nan("");
  s.log_ratio = {nll.MeanX() - nll.MeanY(), std::sqrt(std::max(0.0, var + base_var - 2 * cov))};
  const double ratio = std::exp(s.log_ratio.value);
  s.ratio = {ratio, ratio * s.log_ratio.error};
  s.difference = {ppl - base_ppl,
                  std::sqrt(std::max(0.0, ppl * ppl * var + base_ppl * base_ppl * base_var -
                                              2 * ppl * base_ppl * cov))};
  s.kl = kl.X();
  s.delta_p = delta_p.X();
  const Estimate square = squared_delta_p.X();
  const double rms = std::sqrt(std::max(0.0, square.value));
  s.delta_p_rms = {rms, rms > 0 ? 0.5 / rms * square.error : 0};
  s.same_top = same.X();
  return s;
}

namespace {

// The rows of one batch, which start at `first` in the window.
absl::Status CompareBatch(const engine::Session& session, std::span<const TokenId> targets,
                          std::span<const std::span<const std::byte>> base_rows, ThreadPool& pool,
                          Divergence& divergence) {
  const auto vocab = static_cast<size_t>(session.model().config().vocab_size);
  std::vector<std::vector<float>> distances(pool.size(), std::vector<float>(vocab));
  std::vector<TokenDivergence> tokens(targets.size());
  std::vector<absl::Status> statuses(targets.size());
  pool.ParallelFor(
      static_cast<int64_t>(targets.size()), 1, [&](int64_t begin, int64_t end, int worker) {
        for (int64_t row = begin; row < end; ++row) {
          const std::span<const float> logits = session.Logits(row);
          const auto base = DecodeLogProbs(base_rows[row], distances[worker]);
          if (!base.ok()) {
            statuses[row] = base.status();
            continue;
          }
          const auto top = std::max_element(logits.begin(), logits.end()) - logits.begin();
          tokens[row] = {base->target_nll, NegativeLogLikelihood(logits, targets[row]),
                         KlDivergence(distances[worker], logits), top == base->top};
        }
      });
  for (const absl::Status& status : statuses) BANTAM_RETURN_IF_ERROR(status);
  for (const TokenDivergence& token : tokens) divergence.Add(token);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<DivergenceResult> MeasureDivergence(
    engine::Session& session, const LogProbsFile& base, int64_t max_windows, ThreadPool& pool,
    absl::FunctionRef<bool(const DivergenceResult& so_far)> progress) {
  const Windows& windows = base.windows();
  if (session.context() < windows.size) {
    return absl::InvalidArgumentError(
        absl::StrFormat("the log-probabilities were made in windows of %d tokens; the context "
                        "holds only %d",
                        windows.size, session.context()));
  }
  DivergenceResult result;
  result.of_windows = max_windows > 0 ? std::min(max_windows, windows.count) : windows.count;
  while (result.windows < result.of_windows) {
    BANTAM_ASSIGN_OR_RETURN(const auto rows, base.Rows(result.windows));
    size_t next = 0;
    BANTAM_RETURN_IF_ERROR(
        ScoreWindow(session, windows, result.windows, [&](std::span<const TokenId> targets) {
          const auto batch = std::span(rows).subspan(next, targets.size());
          next += targets.size();
          return CompareBatch(session, targets, batch, pool, result.divergence);
        }));
    ++result.windows;
    if (!progress(result)) break;
  }
  return result;
}

}  // namespace bantam::eval
