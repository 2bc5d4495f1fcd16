#include "runtime/sample/sampler.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/sample/portable_math.h"
#include "runtime/sample/random.h"

namespace bantam::sample {
namespace {

// The tokens the penalties look back on, and how often each occurs among them.
class History {
 public:
  History(int64_t vocab_size, int64_t window) : counts_(vocab_size, 0), ring_(window, -1) {}

  void Accept(int32_t token) {
    if (ring_.empty() || token < 0 || token >= static_cast<int64_t>(counts_.size())) return;
    int32_t& slot = ring_[next_];
    if (slot >= 0) --counts_[slot];
    slot = token;
    ++counts_[token];
    next_ = next_ + 1 == ring_.size() ? 0 : next_ + 1;
  }
  void Clear() {
    std::fill(counts_.begin(), counts_.end(), 0);
    std::fill(ring_.begin(), ring_.end(), -1);
    next_ = 0;
  }
  int32_t count(int64_t token) const { return counts_[token]; }

 private:
  std::vector<int32_t> counts_;
  std::vector<int32_t> ring_;
  size_t next_ = 0;
};

struct Candidate {
  float logit;
  int32_t id;
  double key;  // what the current stage computes: a weight or a distance
};

bool Likelier(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

// The tokens still in the running. Only as much of the list is sorted as a stage needs: a
// vocabulary has 150,000 entries and nearly all of the probability is in a few.
class Candidates {
 public:
  explicit Candidates(int64_t vocab_size) { list_.reserve(vocab_size); }

  void Clear() {
    list_.clear();
    sorted_ = 0;
    peak_ = -INFINITY;
  }
  void Push(float logit, int32_t id) {
    list_.push_back({logit, id, 0});
    peak_ = std::max(peak_, logit);
  }
  size_t size() const { return list_.size(); }

  // The likeliest token; of equal ones the lowest id.
  int32_t Best() const { return std::min_element(list_.begin(), list_.end(), Likelier)->id; }

  void TopK(size_t k) {
    if (k >= list_.size()) return;
    SortPrefix(k);
    list_.resize(k);
  }

  // The smallest set of likeliest tokens that holds at least `p` of the probability.
  void TopP(double p) {
    const double wanted = p * Weigh(1.0);
    double sum = 0;
    for (size_t i = 0; i < list_.size(); ++i) {
      if (i == sorted_) SortPrefix(std::min(list_.size(), std::max<size_t>(64, 4 * sorted_)));
      sum += list_[i].key;
      if (sum < wanted) continue;
      list_.resize(i + 1);
      sorted_ = i + 1;
      return;
    }
  }

  // The tokens at least `p` times as likely as the likeliest.
  void MinP(double p) {
    const double least = peak_ + Log(p);
    auto unlikely = [least](const Candidate& c) { return c.logit < least; };
    list_.erase(std::remove_if(list_.begin(), list_.end(), unlikely), list_.end());
    sorted_ = std::min(sorted_, list_.size());
  }

  // The tokens whose surprise -log(p) is closest to the entropy, until they hold at least `p`.
  void Typical(double p) {
    const double total = Weigh(1.0);
    const double log_total = Log(total);
    auto surprise = [&](const Candidate& c) { return log_total - (double{c.logit} - peak_); };
    double entropy = 0;
    for (const Candidate& c : list_) entropy += c.key / total * surprise(c);
    for (Candidate& c : list_) c.key = std::abs(surprise(c) - entropy);
    std::sort(list_.begin(), list_.end(), [](const Candidate& a, const Candidate& b) {
      return a.key != b.key ? a.key < b.key : Likelier(a, b);
    });
    double sum = 0;
    size_t kept = 0;
    do {
      sum += Exp(-surprise(list_[kept++]));
    } while (kept < list_.size() && sum < p);
    list_.resize(kept);
    sorted_ = 0;
    peak_ =
        std::max_element(list_.begin(), list_.end(), [](const Candidate& a, const Candidate& b) {
          return a.logit < b.logit;
        })->logit;
  }

  // A token drawn in proportion to exp(logit / temperature); `unit` is in [0, 1).
  int32_t Draw(double temperature, double unit) {
    double left = unit * Weigh(temperature);
    for (const Candidate& c : list_) {
      left -= c.key;
      if (left < 0) return c.id;
    }
    return Best();  // rounding ate the last bit of the sum
  }

 private:
  // Sets every key to exp((logit - peak) / temperature); returns the sum.
  double Weigh(double temperature) {
    double sum = 0;
    for (Candidate& c : list_) {
      c.key = Exp((double{c.logit} - peak_) / temperature);
      sum += c.key;
    }
    return sum;
  }

  // Makes the first `n` the n likeliest, in order.
  void SortPrefix(size_t n) {
    if (n <= sorted_) return;
    const auto begin = list_.begin();
    const auto from = begin + static_cast<ptrdiff_t>(sorted_);
    const auto to = begin + static_cast<ptrdiff_t>(n);
    if (to != list_.end()) std::nth_element(from, to, list_.end(), Likelier);
    std::sort(from, to, Likelier);
    sorted_ = n;
  }

  std::vector<Candidate> list_;
  size_t sorted_ = 0;  // this many at the front are the likeliest, in order
  float peak_ = 0;     // the largest logit
};

class Chain : public Sampler {
 public:
  Chain(const Params& params, int64_t vocab_size, int64_t window)
      : params_(params),
        vocab_size_(vocab_size),
        penalties_(window > 0),
        history_(vocab_size, window),
        candidates_(vocab_size),
        random_(params.seed) {}

  absl::StatusOr<int32_t> Sample(std::span<const float> logits) override {
    BANTAM_RETURN_IF_ERROR(Collect(logits));
    if (params_.temperature == 0) return candidates_.Best();
    if (params_.top_k > 0) candidates_.TopK(params_.top_k);
    if (params_.typical_p < 1) candidates_.Typical(params_.typical_p);
    if (params_.top_p < 1) candidates_.TopP(params_.top_p);
    if (params_.min_p > 0) candidates_.MinP(params_.min_p);
    return candidates_.Draw(params_.temperature, random_.NextUnit());
  }

  void Accept(int32_t token) override { history_.Accept(token); }

  void Reset() override {
    history_.Clear();
    random_ = Random(params_.seed);
  }

 private:
  absl::Status Collect(std::span<const float> logits) {
    if (static_cast<int64_t>(logits.size()) != vocab_size_) {
      return absl::InvalidArgumentError(absl::StrCat(
          "sampling got ", logits.size(), " logits; the vocabulary has ", vocab_size_, " tokens"));
    }
    candidates_.Clear();
    for (int32_t id = 0; id < vocab_size_; ++id) {
      if (!std::isfinite(logits[id])) continue;
      const float logit = penalties_ ? Penalized(logits[id], history_.count(id)) : logits[id];
      if (std::isfinite(logit)) candidates_.Push(logit, id);
    }
    if (candidates_.size() > 0) return absl::OkStatus();
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
  History history_;
  Candidates candidates_;
  Random random_;
};

absl::Status CheckRange(absl::string_view name, double value, double min, double max) {
  if (value >= min && value <= max) return absl::OkStatus();  // false for NaN
  return absl::InvalidArgumentError(
      absl::StrCat(name, " is ", value, "; expected ", min, " to ", max));
}

}  // namespace

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
  const bool penalties =
      params.repeat_penalty != 1 || params.frequency_penalty != 0 || params.presence_penalty != 0;
  int64_t window = 0;
  if (penalties) {
    window = std::max<int64_t>(max_history, 0);
    if (params.penalty_last_n >= 0) window = std::min<int64_t>(window, params.penalty_last_n);
  }
  return std::unique_ptr<Sampler>(new Chain(params, vocab_size, window));
}

}  // namespace bantam::sample
