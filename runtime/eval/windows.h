// The protocol every measurement shares: which tokens of a text are scored, in which context.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "runtime/engine/engine.h"

namespace bantam::eval {

inline constexpr int64_t kMinWindow = 8;

struct WindowOptions {
  int64_t window = 512;     // tokens
  int64_t max_windows = 0;  // 0: all whole windows of the text
};

// The windows a text is cut into: they do not overlap, and what is left at the end is not used.
// Each is read from an empty context, its first token replaced by BOS where the vocabulary asks
// for one. Its first half is context only: the tokens after position size/2 are scored.
struct Windows {
  int64_t size = 0;  // tokens in each
  int64_t count = 0;
  std::vector<tokenizer::TokenId> tokens;  // [count * size], as the model is to read them

  std::span<const tokenizer::TokenId> window(int64_t i) const {
    return std::span(tokens).subspan(i * size, size);
  }
  // The first position whose prediction counts, and how many count in each window: the last
  // position predicts a token of the next window, which is not scored.
  int64_t first_scored() const { return size / 2; }
  int64_t scored() const { return size - 1 - first_scored(); }
};

// kInvalidArgument for a window shorter than kMinWindow or longer than the session's context, or a
// text shorter than one window.
absl::StatusOr<Windows> CutWindows(const engine::Session& session,
                                   std::span<const tokenizer::TokenId> tokens,
                                   const WindowOptions& options);

// Reads one window from an empty context. `batch` is called with the tokens that rows 0, 1, ... of
// the session's logits are to predict, until all scored ones had their turn.
using BatchFn = absl::FunctionRef<absl::Status(std::span<const tokenizer::TokenId> targets)>;
absl::Status ScoreWindow(engine::Session& session, const Windows& windows, int64_t index,
                         BatchFn batch);

}  // namespace bantam::eval
