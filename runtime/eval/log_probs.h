// One model's predictions in little more than a byte per token of the vocabulary, so that another
// can be compared with them. log_probs.md documents the encoding down to the byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "runtime/tokenizer/tokenizer.h"

namespace bantam::eval {

// What a row holds besides the distances.
struct LogProbs {
  float target_nll = 0;        // -log p of the token that came, exactly as measured
  tokenizer::TokenId top = 0;  // the most likely token; of equals the first
};

// Appends softmax(logits) to `out`. Tokens that together hold at least 99.5 % of the probability
// keep their log-probability to 16 bits of its range, the others, whose errors weigh little, to 8.
// kDataLoss when the largest logit is not finite; none may be NaN.
absl::Status EncodeLogProbs(std::span<const float> logits, tokenizer::TokenId target,
                            std::string& out);

// Bytes of the row that starts at `bytes`; kDataLoss when there is no whole one.
absl::StatusOr<size_t> EncodedBytes(std::span<const std::byte> bytes, int64_t vocab);

// Decodes one whole row. distances[i] is log p of the most likely token less that of token i:
// not negative, infinite where p is 0. distances.size() is the vocabulary's. kDataLoss for bytes
// that no Encode gives.
absl::StatusOr<LogProbs> DecodeLogProbs(std::span<const std::byte> bytes,
                                        std::span<float> distances);

}  // namespace bantam::eval
