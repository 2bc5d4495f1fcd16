#include "runtime/sample/candidates.h"

#include <algorithm>
#include <cmath>

#include "runtime/sample/portable_math.h"

namespace bantam::sample {
namespace {

constexpr double kLn2 = 0.693147180559945309417;

}  // namespace

bool Candidates::Likelier(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

void Candidates::Clear() {
  list_.clear();
  sorted_ = 0;
  peak_ = -INFINITY;
}

void Candidates::Push(float logit, int32_t id) {
  list_.push_back({logit, id, 0});
  peak_ = std::max(peak_, logit);
}

int32_t Candidates::Best() const {
  return std::min_element(list_.begin(), list_.end(), Likelier)->id;
}

void Candidates::TopK(size_t k) {
  if (k >= list_.size()) return;
  SortPrefix(k);
  list_.resize(k);
}

void Candidates::TopP(double p) {
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

void Candidates::MinP(double p) {
  const double least = peak_ + Log(p);
  auto unlikely = [least](const Candidate& c) { return c.logit < least; };
  list_.erase(std::remove_if(list_.begin(), list_.end(), unlikely), list_.end());
  sorted_ = std::min(sorted_, list_.size());
}

void Candidates::Typical(double p) {
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
  FindPeak();
}

void Candidates::ExcludeTop(double threshold) {
  const double least = threshold * Weigh(1.0);
  size_t above = 0;
  // They are the first of the sorted list.
  while (above < list_.size()) {
    if (above == sorted_) SortPrefix(std::min(list_.size(), std::max<size_t>(64, 4 * sorted_)));
    if (list_[above].key < least) break;
    ++above;
  }
  if (above < 2) return;
  list_.erase(list_.begin(), list_.begin() + static_cast<ptrdiff_t>(above - 1));
  sorted_ -= above - 1;
  peak_ = list_.front().logit;
}

void Candidates::MostSurprise(double most, double temperature) {
  log_total_ = Log(Weigh(temperature));
  const double least = peak_ + temperature * (log_total_ - most * kLn2);
  const float kept_logit = peak_;
  auto surprising = [&](const Candidate& c) { return c.logit < least && c.logit != kept_logit; };
  list_.erase(std::remove_if(list_.begin(), list_.end(), surprising), list_.end());
  if (least > peak_) list_.resize(1);  // of equally likely ones the first
  sorted_ = std::min(sorted_, list_.size());
}

int32_t Candidates::Draw(double temperature, double unit) {
  double left = unit * Weigh(temperature);
  for (const Candidate& c : list_) {
    left -= c.key;
    if (left < 0) return c.id;
  }
  return Best();  // rounding ate the last bit of the sum
}

double Candidates::Surprise(int32_t id, double temperature) const {
  const auto drawn =
      std::find_if(list_.begin(), list_.end(), [id](const Candidate& c) { return c.id == id; });
  return (log_total_ - (double{drawn->logit} - peak_) / temperature) / kLn2;
}

double Candidates::Weigh(double temperature) {
  double sum = 0;
  for (Candidate& c : list_) {
    c.key = Exp((double{c.logit} - peak_) / temperature);
    sum += c.key;
  }
  return sum;
}

void Candidates::SortPrefix(size_t n) {
  if (n <= sorted_) return;
  const auto begin = list_.begin();
  const auto from = begin + static_cast<ptrdiff_t>(sorted_);
  const auto to = begin + static_cast<ptrdiff_t>(n);
  if (to != list_.end()) std::nth_element(from, to, list_.end(), Likelier);
  std::sort(from, to, Likelier);
  sorted_ = n;
}

void Candidates::FindPeak() {
  peak_ = -INFINITY;
  for (const Candidate& c : list_) peak_ = std::max(peak_, c.logit);
}

}  // namespace bantam::sample
