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

class Conversation {
 public:
  Conversation(const engine::Model& model, Generator& generator, const ChatOptions& options,
               InterruptScope& interrupt)
      : model_(model),
        generator_(generator),
        options_(options),
        interrupt_(interrupt),
        lines_(interrupt),
        seed_(options.seed) {
    Clear();
  }

  absl::Status Run() {
    if (!options_.first.empty()) BANTAM_RETURN_IF_ERROR(Say(options_.first));
    std::string message;
    while (ReadMessage(message)) {
      if (message == "/exit" || message == "/quit") break;
      if (message == "/clear") {
        Clear();
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
  void Clear() {
    messages_.clear();
    if (!options_.system.empty()) messages_.push_back({"system", options_.system});
    text_.clear();
    before_answer_.clear();
  }

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

  absl::Status Say(const std::string& message) {
    if (options_.raw) {
      before_answer_ = text_ + message;
    } else {
      messages_.push_back({"user", message});
    }
    return AnswerLast();
  }

  absl::Status Regenerate() {
    if (options_.raw ? before_answer_.empty() : messages_.empty()) {
      WriteStderr("there is no message to answer yet\n");
      return absl::OkStatus();
    }
    if (!options_.raw && messages_.back().role == "assistant") messages_.pop_back();
    return AnswerLast();
  }

  absl::Status AnswerLast() {
    std::string prompt = before_answer_;
    if (!options_.raw) {
      BANTAM_ASSIGN_OR_RETURN(prompt, model_.FormatChat(messages_, true));
    }
    auto answer = generator_.Generate(generator_.Encode(prompt), seed_++, WriteAnswer,
                                      [this] { return interrupt_.Pending(); });
    interrupt_.Take();
    if (absl::IsResourceExhausted(answer.status())) {
      // The message does not fit; the conversation before it still does.
      if (!options_.raw) messages_.pop_back();
      WriteStderr(
          absl::StrCat("context full: ", answer.status().message(), "; /clear starts over\n"));
      return absl::OkStatus();
    }
    BANTAM_RETURN_IF_ERROR(answer.status());
    counts_.Add(answer->counts);
    BANTAM_RETURN_IF_ERROR(EndAnswer(answer->text));
    if (answer->stop == StopReason::kContextFull) {
      WriteStderr("context full: /clear starts over, -c gives more room\n");
    }
    if (options_.raw) {
      text_ = prompt + answer->text;
    } else {
      messages_.push_back({"assistant", std::move(answer->text)});
    }
    return absl::OkStatus();
  }

  const engine::Model& model_;
  Generator& generator_;
  const ChatOptions& options_;
  InterruptScope& interrupt_;
  LineReader lines_;
  const bool is_terminal_ = isatty(STDIN_FILENO) != 0;
  std::vector<chat::Message> messages_;
  std::string text_;           // raw: everything so far
  std::string before_answer_;  // raw: what the last answer continued
  uint64_t seed_;
  Counts counts_;
};

}  // namespace

absl::StatusOr<Counts> Chat(const engine::Model& model, Generator& generator,
                            const ChatOptions& options, InterruptScope& interrupt) {
  Conversation conversation(model, generator, options, interrupt);
  BANTAM_RETURN_IF_ERROR(conversation.Run());
  return conversation.counts();
}

}  // namespace bantam::cli
