// DRY ("don't repeat yourself", p-e-w 2024, text-generation-webui pull request 5677): a token that
// would make the text's end a longer copy of something before is the less likely the longer the
// copy already is.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/sample/history.h"

namespace bantam::sample {

struct DryParams {
  float multiplier = 0.0f;  // 0: off
  float base = 1.75f;
  int32_t allowed_length = 2;     // copies up to this length cost nothing
  int32_t last_n = -1;            // tokens looked back on; -1: all
  std::vector<int32_t> breakers;  // a copy does not reach over these tokens
};

class Dry {
 public:
  Dry(const DryParams& params, int64_t vocab_size, int64_t window);

  void Accept(int32_t token) { history_.Accept(token); }
  void Clear() { history_.Clear(); }
  // Finds the copies. The text's end, of any length n, stands elsewhere with token t after it: then
  // t would extend a copy of n tokens.
  void Prepare();
  // What is taken off the logit of a token: multiplier * base^(n - allowed_length) for the longest
  // copy it would extend, where n >= allowed_length.
  float Penalty(int32_t token) const {
    return lengths_[token] < params_.allowed_length ? 0.0f : OfLength(lengths_[token]);
  }

 private:
  float OfLength(int32_t length) const;

  const DryParams params_;
  History history_;
  std::vector<bool> is_breaker_;  // by token
  std::vector<int32_t> lengths_;  // by token: of the longest copy it would extend
  std::vector<int32_t> touched_;  // tokens with a length
  std::vector<int32_t> matches_;  // of Prepare
};

}  // namespace bantam::sample
