// Scores of tokens.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "runtime/gguf/file.h"
#include "runtime/tokenizer/vocabulary.h"

namespace bantam::tokenizer {

// tokenizer.ggml.scores, one for each token, none of them NaN. kInvalidArgument otherwise.
absl::StatusOr<std::vector<float>> LoadScores(const gguf::File& file, const Vocabulary& vocabulary);

}  // namespace bantam::tokenizer
