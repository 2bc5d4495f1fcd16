// The tokens that the penalties look back on.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace bantam::sample {

// The last `window` tokens, and how often each occurs among them.
class History {
 public:
  History(int64_t vocab_size, int64_t window)
      : counts_(window > 0 ? vocab_size : 0, 0), ring_(window, -1) {}

  void Accept(int32_t token) {
    if (ring_.empty() || token < 0 || token >= static_cast<int64_t>(counts_.size())) return;
    int32_t& slot = ring_[next_];
    if (slot >= 0) {
      --counts_[slot];
    } else {
      ++size_;
    }
    slot = token;
    ++counts_[token];
    next_ = next_ + 1 == ring_.size() ? 0 : next_ + 1;
  }
  void Clear() {
    std::fill(counts_.begin(), counts_.end(), 0);
    std::fill(ring_.begin(), ring_.end(), -1);
    next_ = size_ = 0;
  }
  int32_t count(int64_t token) const { return counts_[token]; }
  size_t size() const { return size_; }
  // The token accepted `back` tokens before the last one; back < size().
  int32_t Last(size_t back) const {
    const size_t n = ring_.size();
    return ring_[(next_ + 2 * n - 1 - back) % n];
  }

 private:
  std::vector<int32_t> counts_;
  std::vector<int32_t> ring_;
  size_t next_ = 0;
  size_t size_ = 0;
};

}  // namespace bantam::sample
