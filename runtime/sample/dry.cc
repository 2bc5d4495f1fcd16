#include "runtime/sample/dry.h"

#include <algorithm>
#include <cmath>

#include "runtime/sample/portable_math.h"

namespace bantam::sample {

Dry::Dry(const DryParams& params, int64_t vocab_size, int64_t window)
    : params_(params),
      history_(vocab_size, window),
      is_breaker_(window > 0 ? vocab_size : 0, false),
      lengths_(window > 0 ? vocab_size : 0, 0) {
  touched_.reserve(lengths_.size());
  matches_.resize(window);
  for (int32_t token : params.breakers) {
    if (token >= 0 && token < static_cast<int64_t>(is_breaker_.size())) is_breaker_[token] = true;
  }
}

void Dry::Prepare() {
  for (int32_t token : touched_) lengths_[token] = 0;
  touched_.clear();
  const size_t size = history_.size();
  // How far back from the end copies may reach.
  size_t reach = 0;
  while (reach < size && !is_breaker_[history_.Last(reach)]) ++reach;
  // matches_[i]: how many tokens, backwards, those ending `i` before the last one share with those
  // ending at the last one. The Z algorithm (Gusfield 1997) over the text read backwards.
  size_t left = 0, right = 0;  // the match that reached furthest back: [left, right)
  for (size_t i = 1; i < size; ++i) {
    size_t n = i < right ? std::min<size_t>(matches_[i - left], right - i) : 0;
    while (i + n < size && n < reach && history_.Last(n) == history_.Last(i + n)) ++n;
    matches_[i] = static_cast<int32_t>(n);
    if (i + n > right) {
      left = i;
      right = i + n;
    }
    const int32_t next = history_.Last(i - 1);
    if (matches_[i] <= lengths_[next]) continue;
    if (lengths_[next] == 0) touched_.push_back(next);
    lengths_[next] = matches_[i];
  }
}

float Dry::OfLength(int32_t length) const {
  const double power = (length - params_.allowed_length) * Log(params_.base);
  // As large as makes any logit hopeless without leaving f32.
  return static_cast<float>(std::min(1e30, params_.multiplier * Exp(std::min(power, 60.0))));
}

}  // namespace bantam::sample
