#include "frontends/cli/progress.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"
#include "frontends/cli/command.h"
#include "frontends/cli/interrupt.h"

namespace bantam::cli {

std::string Duration(double seconds) {
  const int64_t s = std::llround(seconds);
  if (s >= 3600) return absl::StrFormat("%d:%02d:%02d", s / 3600, s / 60 % 60, s % 60);
  return absl::StrFormat("%d:%02d", s / 60, s % 60);
}

void Progress::Show(int64_t done, absl::string_view text) {
  const int64_t left = of_ - done;
  const double rest =
      Seconds() / static_cast<double>(std::max<int64_t>(done, 1)) * static_cast<double>(left);
  const std::string line = absl::StrFormat("[%d/%d] %s, %s left", done, of_, text, Duration(rest));
  const int64_t twentieth = of_ > 0 ? done * 20 / of_ : 20;
  if (StderrIsTerminal()) {
    status_.Show(line);
  } else if (twentieth > shown_) {
    WriteStderr(line + "\n");
  }
  shown_ = twentieth;
}

int Finish(const absl::Status& status) {
  if (status.ok()) return kOk;
  if (absl::IsAborted(status)) DieInterrupted();
  return Fail(status);
}

absl::Status Interrupted() { return absl::AbortedError("stopped by Ctrl-C"); }

}  // namespace bantam::cli
