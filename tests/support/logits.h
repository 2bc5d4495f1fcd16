// What tests ask of logits.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>

namespace bantam::testing {

// sqrt(sum (a - b)^2 / sum b^2), over every `step`-th of a; infinite where there are too few.
inline double NormalizedError(std::span<const float> a, std::span<const float> b, size_t step = 1) {
  if (b.empty() || a.size() / step < b.size()) return std::numeric_limits<double>::infinity();
  double difference = 0, norm = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    const double d = double{a[i * step]} - b[i];
    difference += d * d;
    norm += double{b[i]} * b[i];
  }
  return std::sqrt(difference / norm);
}

// The index of the largest.
inline int32_t Likeliest(std::span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

}  // namespace bantam::testing
