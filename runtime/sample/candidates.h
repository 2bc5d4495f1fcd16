// The tokens still in the running, and the stages that narrow them down.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace bantam::sample {

// Only as much of the list is sorted as a stage needs: a vocabulary has 150,000 entries and nearly
// all of the probability is in a few. Never empty once a token has been pushed: every stage keeps
// at least one.
class Candidates {
 public:
  explicit Candidates(int64_t vocab_size) { list_.reserve(vocab_size); }

  void Clear();
  void Push(float logit, int32_t id);
  size_t size() const { return list_.size(); }

  // The likeliest token; of equal ones the lowest id.
  int32_t Best() const;
  // The k likeliest.
  void TopK(size_t k);
  // The smallest set of likeliest tokens that holds at least `p` of the probability.
  void TopP(double p);
  // The tokens at least `p` times as likely as the likeliest.
  void MinP(double p);
  // The tokens whose surprise -log(p) is closest to the entropy, until they hold at least `p`.
  void Typical(double p);
  // Of the tokens that have at least `threshold` of the probability only the unlikeliest.
  void ExcludeTop(double threshold);
  // The tokens whose surprise at `temperature`, in bits, is at most `most`; the likeliest always.
  // The surprises are those before the cut, which Surprise() then tells.
  void MostSurprise(double most, double temperature);

  // A token drawn in proportion to exp(logit / temperature); `unit` is in [0, 1).
  int32_t Draw(double temperature, double unit);
  // After MostSurprise and Draw: of the token drawn, in bits.
  double Surprise(int32_t id, double temperature) const;

 private:
  struct Candidate {
    float logit;
    int32_t id;
    double key;  // what the current stage computes: a weight or a distance
  };
  static bool Likelier(const Candidate& a, const Candidate& b);

  // Sets every key to exp((logit - peak) / temperature); returns the sum.
  double Weigh(double temperature);
  // Makes the first `n` the n likeliest, in order.
  void SortPrefix(size_t n);
  void FindPeak();

  std::vector<Candidate> list_;
  size_t sorted_ = 0;     // this many at the front are the likeliest, in order
  float peak_ = 0;        // the largest logit
  double log_total_ = 0;  // of the weights MostSurprise saw
};

}  // namespace bantam::sample
