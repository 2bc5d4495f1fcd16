// Choosing the next token from logits.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/sample/dry.h"

namespace bantam::sample {

struct LogitBias {
  int32_t token;
  float bias;  // added to the logit; -infinity: never
};

// Values that switch a stage off are given beside it.
struct Params {
  float temperature = 0.8f;        // 0: greedy
  int32_t top_k = 40;              // 0: off
  float top_p = 0.95f;             // 1: off
  float min_p = 0.05f;             // 0: off
  float typical_p = 1.0f;          // 1: off (Meister et al. 2022)
  float repeat_penalty = 1.0f;     // 1: off (Keskar et al. 2019)
  float frequency_penalty = 0.0f;  // 0: off
  float presence_penalty = 0.0f;   // 0: off
  int32_t penalty_last_n = 64;     // tokens the penalties look back on; -1: all, 0: none
  uint64_t seed = 0;
  std::vector<LogitBias> logit_bias;
  DryParams dry;
  // XTC (p-e-w 2024, text-generation-webui pull request 6335): with this probability, of the tokens
  // that have at least `xtc_threshold` only the unlikeliest stays.
  float xtc_probability = 0.0f;  // 0: off
  float xtc_threshold = 0.1f;
  // Mirostat 2.0 (Basu et al. 2021): in place of top-k, typical, top-p, min-p and XTC, only tokens
  // up to a surprise that is steered so that the mean surprise is tau.
  bool mirostat = false;
  float mirostat_tau = 5.0f;  // bits
  float mirostat_eta = 0.1f;  // learning rate
};

// Whether these always choose the token with the largest logit, as long as no mask is given.
bool IsGreedy(const Params& params);

// A chain: bias, penalties, DRY, top-k, typical, top-p, min-p, XTC, temperature, draw. The same
// parameters, logits and history give the same tokens on every machine. Not thread-safe. After
// construction, Sample allocates nothing.
class Sampler {
 public:
  // kInvalidArgument names a parameter outside its range. `vocab_size` > 0.
  static absl::StatusOr<std::unique_ptr<Sampler>> Create(const Params& params, int64_t vocab_size,
                                                         int64_t max_history = 1 << 20);
  virtual ~Sampler() = default;

  // As IsGreedy: without a mask, who knows the likeliest token need not ask.
  virtual bool greedy() const = 0;

  // Picks a token; does not change `logits`. With `allowed`, a bit for each token, 64 to a word,
  // only tokens whose bit is set. kInvalidArgument when no logit is finite (a broken model), naming
  // how many are NaN; kFailedPrecondition when none that is allowed is.
  virtual absl::StatusOr<int32_t> Sample(std::span<const float> logits,
                                         std::span<const uint64_t> allowed = {}) = 0;
  // Records a token of the text so far (prompt or chosen) for the penalties.
  virtual void Accept(int32_t token) = 0;
  // Forgets the history and restarts the random sequence.
  virtual void Reset() = 0;
};

}  // namespace bantam::sample
