// Telling a model's reasoning from its answer.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "runtime/tokenizer/tokenizer.h"

namespace bantam::cli {

enum class Part : uint8_t {
  kAnswer,
  kReasoning,
  kMarker,  // where reasoning begins or ends, as the model wrote it
};

// The marks of the families that reason: <think>, [THINK], gpt-oss's channels and others. Text
// marks count only where the answer has not begun; marks made of control tokens count anywhere.
class ThinkFilter {
 public:
  using Output = absl::FunctionRef<absl::Status(absl::string_view, Part)>;

  // Whether a prompt ends within a reasoning block, which the template has opened.
  static bool EndsInside(absl::string_view prompt);
  // Control tokens that marks are made of: to be put into the text.
  static std::vector<tokenizer::TokenId> MarkTokens(const tokenizer::Tokenizer& tokenizer);

  explicit ThinkFilter(bool inside);
  // Hands out all but what may be the start of a mark.
  absl::Status Push(absl::string_view text, Output output);
  absl::Status Finish(Output output);

 private:
  absl::Status Take(size_t bytes, Part part, Output output);

  const char* close_ = nullptr;  // the end of the block the text is in; null: in none
  bool answered_ = false;        // the answer has begun
  std::string held_;
};

// Writes reasoning to stdout, dimmed on a terminal.
absl::Status WriteReasoning(absl::string_view text);

}  // namespace bantam::cli
