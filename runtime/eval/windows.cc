#include "runtime/eval/windows.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "runtime/base/status.h"

namespace bantam::eval {

using engine::LogitsMode;
using tokenizer::TokenId;

absl::StatusOr<Windows> CutWindows(const engine::Session& session, std::span<const TokenId> tokens,
                                   const WindowOptions& options) {
  if (options.window < kMinWindow || options.window > session.context()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("a window of %d tokens was asked for; expected %d to %d", options.window,
                        kMinWindow, session.context()));
  }
  const int64_t whole = static_cast<int64_t>(tokens.size()) / options.window;
  if (whole == 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("the text has %d tokens, but one window takes %d; use a longer text or a "
                        "smaller window",
                        tokens.size(), options.window));
  }
  Windows windows;
  windows.size = options.window;
  windows.count = options.max_windows > 0 ? std::min(options.max_windows, whole) : whole;
  windows.tokens.assign(tokens.begin(), tokens.begin() + windows.count * windows.size);
  const tokenizer::SpecialTokens& special = session.model().tokenizer().special();
  if (special.add_bos && special.bos != tokenizer::kNoToken) {
    for (int64_t i = 0; i < windows.count; ++i) windows.tokens[i * windows.size] = special.bos;
  }
  return windows;
}

absl::Status ScoreWindow(engine::Session& session, const Windows& windows, int64_t index,
                         BatchFn batch) {
  const std::span<const TokenId> window = windows.window(index);
  const int64_t first = windows.first_scored();
  const int64_t end = first + windows.scored();
  BANTAM_RETURN_IF_ERROR(session.Truncate(0));
  BANTAM_RETURN_IF_ERROR(session.Decode(window.first(first), LogitsMode::kNone));
  for (int64_t begin = first; begin < end;) {
    const int64_t count = std::min(session.ubatch(), end - begin);
    BANTAM_RETURN_IF_ERROR(session.Decode(window.subspan(begin, count), LogitsMode::kAll));
    BANTAM_RETURN_IF_ERROR(batch(window.subspan(begin + 1, count)));
    begin += count;
  }
  return absl::OkStatus();
}

}  // namespace bantam::eval
