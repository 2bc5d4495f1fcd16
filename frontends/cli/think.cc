#include "frontends/cli/think.h"

#include <unistd.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "frontends/cli/output.h"
#include "runtime/base/status.h"

namespace bantam::cli {
namespace {

struct Mark {
  const char* open;
  const char* close;  // null: no block, only a mark to leave out
  bool is_control;    // made of control tokens, which no answer contains by chance
};
constexpr Mark kMarks[] = {
    {"<think>", "</think>", false},
    {"[THINK]", "[/THINK]", false},
    {"<seed:think>", "</seed:think>", false},
    {"<|START_THINKING|>", "<|END_THINKING|>", false},
    {"<|channel|>analysis<|message|>", "<|end|>", true},
    {"<|start|>assistant", nullptr, true},
    {"<|channel|>final<|message|>", nullptr, true},
};
const char* const kMarkTokens[] = {
    "<think>",       "</think>",           "[THINK]",          "[/THINK]",    "<seed:think>",
    "</seed:think>", "<|START_THINKING|>", "<|END_THINKING|>", "<|channel|>", "<|message|>",
    "<|end|>",       "<|start|>"};

bool IsBlank(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), absl::ascii_isspace);
}

// The longest end of `text` that `mark` begins with but is not all of.
size_t PartialAtEnd(absl::string_view text, absl::string_view mark) {
  for (size_t n = std::min(text.size(), mark.size() - 1); n > 0; --n) {
    if (absl::EndsWith(text, mark.substr(0, n))) return n;
  }
  return 0;
}

}  // namespace

bool ThinkFilter::EndsInside(absl::string_view prompt) {
  prompt = absl::StripTrailingAsciiWhitespace(prompt);
  return std::any_of(std::begin(kMarks), std::end(kMarks), [prompt](const Mark& mark) {
    return mark.close != nullptr && absl::EndsWith(prompt, mark.open);
  });
}

std::vector<tokenizer::TokenId> ThinkFilter::MarkTokens(const tokenizer::Tokenizer& tokenizer) {
  std::vector<tokenizer::TokenId> ids;
  // <|end|> and <|start|> are common; only with channels are they marks.
  const bool has_channels = tokenizer.Find("<|channel|>") != tokenizer::kNoToken;
  for (absl::string_view text : kMarkTokens) {
    const tokenizer::TokenId id = tokenizer.Find(text);
    if (id == tokenizer::kNoToken || tokenizer.kind(id) != tokenizer::TokenKind::kControl) continue;
    if (absl::StartsWith(text, "<|") && !absl::EndsWith(text, "_THINKING|>") && !has_channels) {
      continue;
    }
    ids.push_back(id);
  }
  return ids;
}

ThinkFilter::ThinkFilter(bool inside) {
  // Which family's block it is does not matter until it ends; only text marks open in prompts.
  if (inside) close_ = kMarks[0].close;
}

absl::Status ThinkFilter::Take(size_t bytes, Part part, Output output) {
  if (bytes == 0) return absl::OkStatus();
  const absl::string_view text = absl::string_view(held_).substr(0, bytes);
  if (part == Part::kAnswer && !IsBlank(text)) answered_ = true;
  BANTAM_RETURN_IF_ERROR(output(text, part));
  held_.erase(0, bytes);
  return absl::OkStatus();
}

absl::Status ThinkFilter::Push(absl::string_view text, Output output) {
  absl::StrAppend(&held_, text);
  while (!held_.empty()) {
    if (close_ != nullptr) {
      const absl::string_view close = close_;
      const size_t at = held_.find(close_);
      if (at == std::string::npos) {
        return Take(held_.size() - PartialAtEnd(held_, close), Part::kReasoning, output);
      }
      BANTAM_RETURN_IF_ERROR(Take(at, Part::kReasoning, output));
      BANTAM_RETURN_IF_ERROR(Take(close.size(), Part::kMarker, output));
      close_ = nullptr;
      continue;
    }
    const Mark* first = nullptr;
    size_t at = std::string::npos, partial = 0;
    for (const Mark& mark : kMarks) {
      const size_t found = held_.find(mark.open);
      const auto possible = [&](size_t where) {
        return mark.is_control ||
               (!answered_ && IsBlank(absl::string_view(held_).substr(0, where)));
      };
      if (found < at && possible(found)) {
        at = found;
        first = &mark;
      }
      const size_t n = PartialAtEnd(held_, mark.open);
      if (n > partial && possible(held_.size() - n)) partial = n;
    }
    if (first == nullptr) return Take(held_.size() - partial, Part::kAnswer, output);
    BANTAM_RETURN_IF_ERROR(Take(at, Part::kAnswer, output));
    BANTAM_RETURN_IF_ERROR(Take(absl::string_view(first->open).size(), Part::kMarker, output));
    close_ = first->close;
  }
  return absl::OkStatus();
}

absl::Status ThinkFilter::Finish(Output output) {
  return Take(held_.size(), close_ != nullptr ? Part::kReasoning : Part::kAnswer, output);
}

absl::Status WriteReasoning(absl::string_view text) {
  static const bool is_terminal = isatty(STDOUT_FILENO) != 0;
  if (!is_terminal) return WriteStdout(text);
  return WriteStdout(absl::StrCat("\x1b[2m", ForTerminal(text), "\x1b[0m"));
}

}  // namespace bantam::cli
