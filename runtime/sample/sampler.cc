#include "runtime/sample/sampler.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/sample/candidates.h"
#include "runtime/sample/history.h"
#include "runtime/sample/random.h"

namespace bantam::sample {
namespace {

class Chain : public Sampler {
 public:
  Chain(const Params& params, int64_t vocab_size, int64_t window, int64_t dry_window)
      : params_(params),
        vocab_size_(vocab_size),
        penalties_(window > 0),
        has_dry_(dry_window > 0),
        history_(vocab_size, window),
        dry_(params.dry, vocab_size, dry_window),
        candidates_(vocab_size),
        random_(params.seed) {
    for (const LogitBias& bias : params.logit_bias) {
      bias_.resize(vocab_size, 0.0f);
      bias_[bias.token] += bias.bias;
    }
    Reset();
  }

  bool greedy() const override { return IsGreedy(params_); }

  absl::StatusOr<int32_t> Sample(std::span<const float> logits,
                                 std::span<const uint64_t> allowed) override {
    BANTAM_RETURN_IF_ERROR(Collect(logits, allowed));
    const double temperature = params_.temperature;
    if (temperature == 0) return candidates_.Best();
    if (params_.mirostat) {
      candidates_.MostSurprise(most_surprise_, temperature);
      const int32_t token = candidates_.Draw(temperature, random_.NextUnit());
      const double error = candidates_.Surprise(token, temperature) - params_.mirostat_tau;
      most_surprise_ -= params_.mirostat_eta * error;
      return token;
    }
    if (params_.top_k > 0) candidates_.TopK(params_.top_k);
    if (params_.typical_p < 1) candidates_.Typical(params_.typical_p);
    if (params_.top_p < 1) candidates_.TopP(params_.top_p);
    if (params_.min_p > 0) candidates_.MinP(params_.min_p);
    if (params_.xtc_probability > 0 && random_.NextUnit() < params_.xtc_probability) {
      candidates_.ExcludeTop(params_.xtc_threshold);
    }
    return candidates_.Draw(temperature, random_.NextUnit());
  }

  void Accept(int32_t token) override {
    history_.Accept(token);
    dry_.Accept(token);
  }

  void Reset() override {
    history_.Clear();
    dry_.Clear();
    random_ = Random(params_.seed);
    most_surprise_ = 2.0 * params_.mirostat_tau;
  }

 private:
  absl::Status Collect(std::span<const float> logits, std::span<const uint64_t> allowed) {
    if (static_cast<int64_t>(logits.size()) != vocab_size_) {
      return absl::InvalidArgumentError(absl::StrCat(
          "sampling got ", logits.size(), " logits; the vocabulary has ", vocab_size_, " tokens"));
    }
    if (!allowed.empty() && static_cast<int64_t>(allowed.size()) < (vocab_size_ + 63) / 64) {
      return absl::InvalidArgumentError(
          absl::StrCat("a mask of ", allowed.size(), " words for ", vocab_size_, " tokens"));
    }
    candidates_.Clear();
    if (has_dry_) dry_.Prepare();
    for (int32_t id = 0; id < vocab_size_; ++id) {
      if (!allowed.empty() && ((allowed[id >> 6] >> (id & 63)) & 1) == 0) continue;
      float logit = logits[id];
      if (!std::isfinite(logit)) continue;
      if (!bias_.empty()) logit += bias_[id];
      if (penalties_) logit = Penalized(logit, history_.count(id));
      if (has_dry_) logit -= dry_.Penalty(id);
      if (std::isfinite(logit)) candidates_.Push(logit, id);
    }
    if (candidates_.size() > 0) return absl::OkStatus();
    const auto finite =
        std::count_if(logits.begin(), logits.end(), [](float v) { return std::isfinite(v); });
    if (finite > 0) {
      return absl::FailedPreconditionError(
          allowed.empty() ? "the logit biases leave no token to choose"
                          : "no token of the vocabulary can follow here under the grammar");
    }
    const auto nan = std::count_if(logits.begin(), logits.end(), [](float v) { return v != v; });
    return absl::InvalidArgumentError(absl::StrCat("none of the ", vocab_size_,
                                                   " logits is a finite number (", nan,
                                                   " are NaN); the model is broken"));
  }

  float Penalized(float logit, int32_t count) const {
    if (count == 0) return logit;
    logit = logit > 0 ? logit / params_.repeat_penalty : logit * params_.repeat_penalty;
    return logit - static_cast<float>(count) * params_.frequency_penalty - params_.presence_penalty;
  }

  const Params params_;
  const int64_t vocab_size_;
  const bool penalties_;
  const bool has_dry_;
  std::vector<float> bias_;  // by token; empty: none
  History history_;
  Dry dry_;
  Candidates candidates_;
  Random random_;
  double most_surprise_ = 0;  // of mirostat, in bits
};

absl::Status CheckRange(absl::string_view name, double value, double min, double max) {
  if (value >= min && value <= max) return absl::OkStatus();  // false for NaN
  return absl::InvalidArgumentError(
      absl::StrCat(name, " is ", value, "; expected ", min, " to ", max));
}

}  // namespace

bool IsGreedy(const Params& params) {
  return params.temperature == 0 && params.logit_bias.empty() && params.repeat_penalty == 1 &&
         params.frequency_penalty == 0 && params.presence_penalty == 0 &&
         params.dry.multiplier <= 0;
}

absl::StatusOr<std::unique_ptr<Sampler>> Sampler::Create(const Params& params, int64_t vocab_size,
                                                         int64_t max_history) {
  BANTAM_RETURN_IF_ERROR(CheckRange("temperature", params.temperature, 0, 1e6));
  BANTAM_RETURN_IF_ERROR(CheckRange("top_k", params.top_k, 0, INT32_MAX));
  BANTAM_RETURN_IF_ERROR(CheckRange("top_p", params.top_p, 0, 1));
  BANTAM_RETURN_IF_ERROR(CheckRange("min_p", params.min_p, 0, 1));
  BANTAM_RETURN_IF_ERROR(CheckRange("typical_p", params.typical_p, 0, 1));
  BANTAM_RETURN_IF_ERROR(CheckRange("repeat_penalty", params.repeat_penalty, 1e-6, 1e6));
  BANTAM_RETURN_IF_ERROR(CheckRange("frequency_penalty", params.frequency_penalty, -1e6, 1e6));
  BANTAM_RETURN_IF_ERROR(CheckRange("presence_penalty", params.presence_penalty, -1e6, 1e6));
  BANTAM_RETURN_IF_ERROR(CheckRange("penalty_last_n", params.penalty_last_n, -1, INT32_MAX));
  BANTAM_RETURN_IF_ERROR(CheckRange("vocab_size", static_cast<double>(vocab_size), 1, INT32_MAX));
  BANTAM_RETURN_IF_ERROR(CheckRange("xtc_probability", params.xtc_probability, 0, 1));
  BANTAM_RETURN_IF_ERROR(CheckRange("xtc_threshold", params.xtc_threshold, 1e-6, 1));
  BANTAM_RETURN_IF_ERROR(CheckRange("mirostat_tau", params.mirostat_tau, 0, 100));
  BANTAM_RETURN_IF_ERROR(CheckRange("mirostat_eta", params.mirostat_eta, 0, 10));
  BANTAM_RETURN_IF_ERROR(CheckRange("dry multiplier", params.dry.multiplier, 0, 1e6));
  BANTAM_RETURN_IF_ERROR(CheckRange("dry base", params.dry.base, 1, 1e6));
  BANTAM_RETURN_IF_ERROR(CheckRange("dry allowed_length", params.dry.allowed_length, 1, 1e9));
  BANTAM_RETURN_IF_ERROR(CheckRange("dry last_n", params.dry.last_n, -1, INT32_MAX));
  for (const LogitBias& bias : params.logit_bias) {
    BANTAM_RETURN_IF_ERROR(CheckRange("the token of a logit bias", bias.token, 0,
                                      static_cast<double>(vocab_size - 1)));
    if (bias.bias != bias.bias || bias.bias == INFINITY) {
      return absl::InvalidArgumentError(absl::StrCat("the bias of token ", bias.token, " is ",
                                                     bias.bias, "; expected a number or -inf"));
    }
  }
  const bool penalties =
      params.repeat_penalty != 1 || params.frequency_penalty != 0 || params.presence_penalty != 0;
  int64_t window = 0;
  if (penalties) {
    window = std::max<int64_t>(max_history, 0);
    if (params.penalty_last_n >= 0) window = std::min<int64_t>(window, params.penalty_last_n);
  }
  int64_t dry_window = 0;
  if (params.dry.multiplier > 0) {
    dry_window = std::max<int64_t>(max_history, 0);
    if (params.dry.last_n >= 0) dry_window = std::min<int64_t>(dry_window, params.dry.last_n);
  }
  return std::unique_ptr<Sampler>(new Chain(params, vocab_size, window, dry_window));
}

}  // namespace bantam::sample
