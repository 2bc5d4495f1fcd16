#include "frontends/cli/chat.h"

#include <unistd.h>

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "frontends/cli/line_reader.h"
#include "frontends/cli/output.h"
#include "runtime/base/status.h"

namespace bantam::cli {
namespace {

constexpr char kHelp[] =
    "/clear  forget the conversation\n"
    "/regen  answer the last message again\n"
    "/exit   leave; so does Ctrl-D, or Ctrl-C twice\n"
    "A backslash at the end of a line continues the message on the next one.\n"
    "Ctrl-C stops an answer.\n";

// A slash and one word: "/usr/bin holds what?" is a message.
bool IsCommand(absl::string_view line) {
  return absl::ConsumePrefix(&line, "/") && !line.empty() &&
         std::all_of(line.begin(), line.end(), absl::ascii_isalpha);
}

class Talk {
 public:
  Talk(Conversation& conversation, uint64_t seed, InterruptScope& interrupt)
      : conversation_(conversation), interrupt_(interrupt), lines_(interrupt), seed_(seed) {}

  absl::Status Run(const std::string& first) {
    if (!first.empty()) BANTAM_RETURN_IF_ERROR(Say(first));
    std::string message;
    while (ReadMessage(message)) {
      if (message == "/exit" || message == "/quit") break;
      if (message == "/clear") {
        conversation_.Clear();
      } else if (message == "/regen") {
        BANTAM_RETURN_IF_ERROR(Regenerate());
      } else if (message == "/help") {
        WriteStderr(kHelp);
      } else if (IsCommand(message)) {
        WriteStderr(absl::StrCat("there is no ", message, "; /help lists what there is\n"));
      } else if (!message.empty()) {
        BANTAM_RETURN_IF_ERROR(Say(message));
      }
    }
    return absl::OkStatus();
  }

  const Counts& counts() const { return counts_; }

 private:
  // False when there are no more.
  bool ReadMessage(std::string& message) {
    message.clear();
    bool interrupted = false;
    std::string line;
    while (true) {
      if (is_terminal_) WriteStderr(message.empty() ? "> " : ". ");
      const LineReader::Result result = lines_.Read(line);
      if (result == LineReader::Result::kInterrupted) {
        WriteStderr("\n");
        if (interrupted) return false;
        interrupted = true;
        message.clear();
        WriteStderr("Ctrl-C again or Ctrl-D leaves\n");
        continue;
      }
      interrupted = false;
      if (result == LineReader::Result::kEnd) {
        if (is_terminal_) WriteStderr("\n");
        return !message.empty();
      }
      message += line;
      if (!absl::EndsWith(line, "\\")) return true;
      message.back() = '\n';
    }
  }

  static absl::Status Emit(absl::string_view text, bool reasoning) {
    return reasoning ? WriteReasoning(text) : WriteAnswer(text);
  }

  absl::Status Say(const std::string& message) {
    return Finish(
        conversation_.Say(message, seed_++, Emit, [this] { return interrupt_.Pending(); }));
  }

  absl::Status Regenerate() {
    auto answer = conversation_.Regenerate(seed_, Emit, [this] { return interrupt_.Pending(); });
    if (absl::IsNotFound(answer.status())) {
      WriteStderr(absl::StrCat(answer.status().message(), "\n"));
      return absl::OkStatus();
    }
    ++seed_;
    return Finish(std::move(answer));
  }

  absl::Status Finish(const absl::StatusOr<Answer>& answer) {
    interrupt_.Take();
    if (absl::IsResourceExhausted(answer.status())) {
      WriteStderr(
          absl::StrCat("context full: ", answer.status().message(), "; /clear starts over\n"));
      return absl::OkStatus();
    }
    BANTAM_RETURN_IF_ERROR(answer.status());
    counts_.Add(answer->counts);
    // After Ctrl-C the terminal's ^C stands on the line, whatever the answer ended with.
    BANTAM_RETURN_IF_ERROR(answer->stop == StopReason::kInterrupted ? WriteStdout("\n")
                                                                    : EndAnswer(answer->shown));
    if (answer->stop == StopReason::kContextFull) {
      WriteStderr(
          "context full: /clear starts over, -c gives more room, --context-shift forgets the "
          "oldest text\n");
    }
    return absl::OkStatus();
  }

  Conversation& conversation_;
  InterruptScope& interrupt_;
  LineReader lines_;
  const bool is_terminal_ = isatty(STDIN_FILENO) != 0;
  uint64_t seed_;
  Counts counts_;
};

}  // namespace

absl::StatusOr<Counts> Chat(Conversation& conversation, const std::string& first, uint64_t seed,
                            InterruptScope& interrupt) {
  Talk talk(conversation, seed, interrupt);
  BANTAM_RETURN_IF_ERROR(talk.Run(first));
  return talk.counts();
}

}  // namespace bantam::cli
