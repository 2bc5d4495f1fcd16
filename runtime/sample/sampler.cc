#include "runtime/sample/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/sample/portable_math.h"
#include "runtime/sample/random.h"

namespace bantam::sample {
namespace {

struct Candidate {
  int32_t id;
  double logit;   // after the penalties; in double, where no penalty can make it infinite
  double weight;  // e^(logit - the highest logit), in the stages that need it
  double score;   // of the typical stage
};

// A total order, so that the result does not depend on how a library sorts.
bool Likelier(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}
bool MoreTypical(const Candidate& a, const Candidate& b) {
  return a.score != b.score ? a.score < b.score : Likelier(a, b);
}

// The last tokens of the text and how often each occurs among them.
class History {
 public:
  History(int64_t vocab_size, int64_t window)
      : ring_(window), counts_(window > 0 ? vocab_size : 0) {}

  void Add(int32_t token) {
    if (ring_.empty() || token < 0 || token >= static_cast<int64_t>(counts_.size())) return;
    if (size_ == ring_.size()) {
      --counts_[ring_[next_]];
    } else {
      ++size_;
    }
    ring_[next_] = token;
    ++counts_[token];
    next_ = next_ + 1 == ring_.size() ? 0 : next_ + 1;
  }
  void Clear() {
    std::fill(counts_.begin(), counts_.end(), 0);
    size_ = next_ = 0;
  }
  bool empty() const { return size_ == 0; }
  int32_t count(size_t token) const { return counts_[token]; }

 private:
  std::vector<int32_t> ring_;
  std::vector<int32_t> counts_;
  size_t size_ = 0;
  size_t next_ = 0;
};

class ChainSampler final : public Sampler {
 public:
  ChainSampler(const Params& params, int64_t vocab_size, int64_t window)
      : params_(params),
        vocab_size_(vocab_size),
        history_(vocab_size, window),
        random_(params.seed),
        candidates_(vocab_size) {}

  absl::StatusOr<int32_t> Sample(std::span<const float> logits) override {
    if (static_cast<int64_t>(logits.size()) != vocab_size_) {
      return absl::InvalidArgumentError(absl::StrCat("the sampler was made for ", vocab_size_,
                                                     " tokens and is given ", logits.size(),
                                                     " logits"));
    }
    if (params_.temperature == 0) {
      Collect(logits, 1);
    } else if (params_.top_k > 0 && params_.top_k < vocab_size_) {
      Collect(logits, params_.top_k);
    } else {
      CollectAll(logits);
    }
    if (count_ == 0) return NoFiniteLogit(logits);
    if (params_.temperature == 0) return candidates_[0].id;
    if (params_.typical_p < 1) KeepTypical();
    if (params_.top_p < 1) KeepTopP();
    if (params_.min_p > 0) KeepMinP();
    return Draw();
  }

  void Accept(int32_t token) override { history_.Add(token); }

  void Reset() override {
    history_.Clear();
    random_.Seed(params_.seed);
  }

 private:
  static absl::Status NoFiniteLogit(std::span<const float> logits) {
    const auto nans =
        std::count_if(logits.begin(), logits.end(), [](float logit) { return std::isnan(logit); });
    return absl::InvalidArgumentError(absl::StrCat("the model is broken: none of its ",
                                                   logits.size(), " logits is finite, ", nans,
                                                   " are NaN"));
  }

  double Penalized(size_t token, double logit) const {
    const int32_t count = history_.count(token);
    if (count == 0) return logit;
    logit = logit > 0 ? logit / params_.repeat_penalty : logit * params_.repeat_penalty;
    return logit - static_cast<double>(count) * params_.frequency_penalty -
           params_.presence_penalty;
  }

  // Calls visit(token, penalised logit) for every finite logit, by token.
  template <typename Visit>
  void ForEachFinite(std::span<const float> logits, Visit visit) const {
    const bool penalties = !history_.empty();
    for (size_t token = 0; token < logits.size(); ++token) {
      if (!std::isfinite(logits[token])) continue;
      const double logit = logits[token];
      visit(token, penalties ? Penalized(token, logit) : logit);
    }
  }

  void CollectAll(std::span<const float> logits) {
    count_ = 0;
    sorted_ = false;
    ForEachFinite(logits, [this](size_t token, double logit) {
      candidates_[count_++] = {.id = static_cast<int32_t>(token), .logit = logit};
    });
  }

  // The `keep` likeliest, sorted. They stand in a heap with the least likely on top, which most
  // tokens of a large vocabulary fail to beat in one comparison.
  void Collect(std::span<const float> logits, int64_t keep) {
    count_ = 0;
    sorted_ = true;
    const auto begin = candidates_.begin();
    ForEachFinite(logits, [&](size_t token, double logit) {
      const Candidate candidate{.id = static_cast<int32_t>(token), .logit = logit};
      if (count_ == keep) {
        if (!Likelier(candidate, *begin)) return;
        std::pop_heap(begin, begin + count_, Likelier);
        --count_;
      }
      candidates_[count_++] = candidate;
      std::push_heap(begin, begin + count_, Likelier);
    });
    std::sort_heap(begin, begin + count_, Likelier);
  }

  double HighestLogit() const {
    if (sorted_) return candidates_[0].logit;
    double highest = candidates_[0].logit;
    for (int64_t i = 1; i < count_; ++i) highest = std::max(highest, candidates_[i].logit);
    return highest;
  }

  // Sets the weights for e^((logit - highest) / temperature) and returns their sum, at least 1.
  double Weigh(double temperature) {
    const double highest = HighestLogit();
    double sum = 0;
    for (int64_t i = 0; i < count_; ++i) {
      Candidate& candidate = candidates_[i];
      candidate.weight = Exp((candidate.logit - highest) / temperature);
      sum += candidate.weight;
    }
    return sum;
  }

  // Keeps the shortest run of candidates, in the order of `before`, that holds a share of at least
  // `share` of the weight `total`. Sorts no more than it must: the run is short as a rule.
  template <typename Before>
  void KeepShare(Before before, double share, double total, bool in_order) {
    const double target = share * total;
    const auto begin = candidates_.begin();
    double sum = 0;
    int64_t done = 0;
    for (int64_t block = 256; done < count_; block *= 4) {
      const int64_t end = std::min(count_, done + block);
      if (!in_order) {
        if (end < count_) std::nth_element(begin + done, begin + end, begin + count_, before);
        std::sort(begin + done, begin + end, before);
      }
      for (; done < end; ++done) {
        sum += candidates_[done].weight;
        if (sum >= target) {
          count_ = done + 1;
          return;
        }
      }
    }
  }

  // Locally typical sampling: keeps the tokens whose surprise, -log p, is nearest to the one to be
  // expected (the entropy).
  void KeepTypical() {
    const double total = Weigh(1);
    const double highest = HighestLogit();
    const double log_total = Log(total);
    double entropy = 0;
    for (int64_t i = 0; i < count_; ++i) {
      Candidate& candidate = candidates_[i];
      const double surprise = log_total - (candidate.logit - highest);
      candidate.score = surprise;
      entropy += candidate.weight / total * surprise;
    }
    for (int64_t i = 0; i < count_; ++i) {
      candidates_[i].score = std::fabs(candidates_[i].score - entropy);
    }
    KeepShare(MoreTypical, params_.typical_p, total, false);
    sorted_ = false;
  }

  void KeepTopP() {
    KeepShare(Likelier, params_.top_p, Weigh(1), sorted_);
    sorted_ = true;
  }

  // Keeps the tokens at least min_p times as likely as the likeliest.
  void KeepMinP() {
    const double highest = HighestLogit();
    const auto end = std::remove_if(
        candidates_.begin(), candidates_.begin() + count_, [&](const Candidate& candidate) {
          return Exp(candidate.logit - highest) < static_cast<double>(params_.min_p);
        });
    count_ = end - candidates_.begin();
  }

  int32_t Draw() {
    const double target = random_.Uniform() * Weigh(params_.temperature);
    double sum = 0;
    int32_t last = candidates_[0].id;
    for (int64_t i = 0; i < count_; ++i) {
      if (candidates_[i].weight == 0) continue;
      sum += candidates_[i].weight;
      last = candidates_[i].id;
      if (sum > target) break;
    }
    return last;
  }

  const Params params_;
  const int64_t vocab_size_;
  History history_;
  Random random_;
  std::vector<Candidate> candidates_;  // the first count_ are in use
  int64_t count_ = 0;
  bool sorted_ = false;  // by likelihood
};

absl::Status CheckParams(const Params& params) {
  const auto check = [](bool good, absl::string_view name, auto value,
                        absl::string_view range) -> absl::Status {
    if (good) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(name, " is ", value, ", it must be ", range));
  };
  const auto is_share = [](float value) { return value >= 0 && value <= 1; };
  const Params& p = params;
  BANTAM_RETURN_IF_ERROR(check(p.temperature >= 0 && std::isfinite(p.temperature), "temperature",
                               p.temperature, "a finite number of at least 0"));
  BANTAM_RETURN_IF_ERROR(check(p.top_k >= 0, "top_k", p.top_k, "at least 0"));
  BANTAM_RETURN_IF_ERROR(check(is_share(p.top_p), "top_p", p.top_p, "between 0 and 1"));
  BANTAM_RETURN_IF_ERROR(check(is_share(p.min_p), "min_p", p.min_p, "between 0 and 1"));
  BANTAM_RETURN_IF_ERROR(check(is_share(p.typical_p), "typical_p", p.typical_p, "between 0 and 1"));
  BANTAM_RETURN_IF_ERROR(check(p.repeat_penalty > 0 && std::isfinite(p.repeat_penalty),
                               "repeat_penalty", p.repeat_penalty, "a finite number above 0"));
  BANTAM_RETURN_IF_ERROR(check(std::isfinite(p.frequency_penalty), "frequency_penalty",
                               p.frequency_penalty, "finite"));
  BANTAM_RETURN_IF_ERROR(
      check(std::isfinite(p.presence_penalty), "presence_penalty", p.presence_penalty, "finite"));
  return check(p.penalty_last_n >= -1, "penalty_last_n", p.penalty_last_n, "at least -1");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Sampler>> Sampler::Create(const Params& params, int64_t vocab_size,
                                                         int64_t max_history) {
  BANTAM_RETURN_IF_ERROR(CheckParams(params));
  if (vocab_size <= 0 || vocab_size > std::numeric_limits<int32_t>::max()) {
    return absl::InvalidArgumentError(
        absl::StrCat("a vocabulary of ", vocab_size, " tokens cannot be sampled from"));
  }
  const bool penalties =
      params.repeat_penalty != 1 || params.frequency_penalty != 0 || params.presence_penalty != 0;
  int64_t window = std::max<int64_t>(max_history, 0);
  if (params.penalty_last_n >= 0) window = std::min<int64_t>(window, params.penalty_last_n);
  return std::make_unique<ChainSampler>(params, vocab_size, penalties ? window : 0);
}

}  // namespace bantam::sample
