// Words repeat: the second time one is copied from where the first one was written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "runtime/tokenizer/vocabulary.h"

namespace bantam::tokenizer {

// For one output, which only grows. Words must stay in memory.
class WordCache {
 public:
  // Appends the ids of `word` if it is known.
  bool Append(absl::string_view word, std::vector<TokenId>& out) const {
    const auto it = words_.find(word);
    if (it == words_.end()) return false;
    const size_t end = out.size();
    out.resize(end + it->second.count);
    for (uint32_t i = 0; i < it->second.count; ++i) out[end + i] = out[it->second.begin + i];
    return true;
  }
  // `word` is what `out` holds from `begin` on.
  void Remember(absl::string_view word, size_t begin, const std::vector<TokenId>& out) {
    if (word.size() > kMaxBytes || words_.size() >= kMaxWords) return;
    words_.emplace(word, Place{begin, static_cast<uint32_t>(out.size() - begin)});
  }

 private:
  static constexpr size_t kMaxBytes = 64;       // longer ones seldom repeat
  static constexpr size_t kMaxWords = 1 << 20;  // tens of MB
  struct Place {
    size_t begin;
    uint32_t count;
  };
  absl::flat_hash_map<absl::string_view, Place> words_;
};

}  // namespace bantam::tokenizer
