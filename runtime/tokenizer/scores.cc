#include "runtime/tokenizer/scores.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"

namespace bantam::tokenizer {

absl::StatusOr<std::vector<float>> LoadScores(const gguf::File& file,
                                              const Vocabulary& vocabulary) {
  constexpr char kScores[] = "tokenizer.ggml.scores";
  if (file.Find(kScores) == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(kScores, " is missing, expected with this tokenizer.ggml.model"));
  }
  BANTAM_ASSIGN_OR_RETURN(std::vector<float> scores, file.GetFloats(kScores));
  if (scores.size() != vocabulary.texts.size()) {
    return absl::InvalidArgumentError(absl::StrCat(kScores, " has ", scores.size(),
                                                   " entries, expected ", vocabulary.texts.size(),
                                                   ", as many as tokenizer.ggml.tokens"));
  }
  for (size_t i = 0; i < scores.size(); ++i) {
    if (std::isnan(scores[i])) {
      return absl::InvalidArgumentError(
          absl::StrCat(kScores, " of token ", i, " is NaN, expected a number"));
    }
  }
  return scores;
}

}  // namespace bantam::tokenizer
