#include "frontends/cli/conversation.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "runtime/base/status.h"

namespace bantam::cli {

Conversation::Conversation(Generator& generator, std::string system)
    : generator_(generator), system_(std::move(system)) {
  Clear();
}

void Conversation::Clear() {
  messages_.clear();
  if (!system_.empty()) messages_.push_back({"system", system_});
  text_.clear();
  before_answer_.clear();
}

absl::StatusOr<Answer> Conversation::Say(const std::string& message, uint64_t seed,
                                         Generator::Emit emit, absl::FunctionRef<bool()> stop) {
  if (generator_.options().raw) {
    before_answer_ = text_ + message;
  } else {
    messages_.push_back({"user", message});
  }
  auto answer = AnswerLast(seed, emit, stop);
  // The message does not fit; the conversation before it still does.
  if (absl::IsResourceExhausted(answer.status()) && !generator_.options().raw) {
    messages_.pop_back();
  }
  return answer;
}

absl::StatusOr<Answer> Conversation::Regenerate(uint64_t seed, Generator::Emit emit,
                                                absl::FunctionRef<bool()> stop) {
  const bool raw = generator_.options().raw;
  if (!raw && !messages_.empty() && messages_.back().role == "assistant") messages_.pop_back();
  if (raw ? before_answer_.empty() : messages_.empty() || messages_.back().role != "user") {
    return absl::NotFoundError("there is no message to answer yet");
  }
  return AnswerLast(seed, emit, stop);
}

absl::StatusOr<std::string> Conversation::Prompt() const {
  if (generator_.options().raw) return before_answer_;
  std::optional<bool> thinking;
  if (generator_.options().think == Think::kOff) thinking = false;
  return generator_.session().model().FormatChat(messages_, true, thinking);
}

int64_t Conversation::KeptTokens(const std::string& prompt) const {
  if (messages_.empty() || messages_.front().role != "system") return -1;
  // Templates may refuse a chat without a user.
  const auto start = generator_.session().model().FormatChat({messages_.front()}, false);
  if (!start.ok()) return -1;
  const std::vector<tokenizer::TokenId> kept = generator_.Encode(*start);
  const std::vector<tokenizer::TokenId> all = generator_.Encode(prompt);
  return std::mismatch(kept.begin(), kept.end(), all.begin(), all.end()).first - kept.begin();
}

absl::StatusOr<Answer> Conversation::AnswerLast(uint64_t seed, Generator::Emit emit,
                                                absl::FunctionRef<bool()> stop) {
  BANTAM_ASSIGN_OR_RETURN(std::string prompt, Prompt());
  int64_t keep = -1;
  if (generator_.options().context_shift && !generator_.options().raw) {
    // Room for an answer too. The system message and the last one stay.
    const int64_t context = generator_.session().context();
    while (static_cast<int64_t>(generator_.Encode(prompt).size()) > context - context / 4) {
      const auto first = messages_.begin() + (messages_.front().role == "system" ? 1 : 0);
      auto next = std::find_if(first + 1, messages_.end(),
                               [](const chat::Message& m) { return m.role == "user"; });
      if (next == messages_.end()) break;
      messages_.erase(first, next);
      BANTAM_ASSIGN_OR_RETURN(prompt, Prompt());
    }
    keep = KeptTokens(prompt);
  }
  BANTAM_ASSIGN_OR_RETURN(Answer answer, generator_.Generate(prompt, seed, emit, stop, keep));
  if (generator_.options().raw) {
    text_ = prompt + answer.text;
  } else {
    messages_.push_back({"assistant", answer.text});
  }
  return answer;
}

absl::Status Conversation::Restore(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return absl::OkStatus();
  BANTAM_ASSIGN_OR_RETURN(const std::string note, generator_.session().Restore(path));
  const auto saved = nlohmann::json::parse(note, nullptr, /*allow_exceptions=*/false);
  const auto is_text = [](const nlohmann::json& json, const char* key) {
    return json.contains(key) && json[key].is_string();
  };
  if (!saved.is_object()) return absl::OkStatus();
  if (is_text(saved, "text")) text_ = before_answer_ = saved["text"].get<std::string>();
  if (!saved.contains("messages") || !saved["messages"].is_array()) return absl::OkStatus();
  for (const nlohmann::json& message : saved["messages"]) {
    if (!is_text(message, "role") || !is_text(message, "content")) continue;
    // A system message given now stands in place of the one then.
    if (message["role"] == "system" && !system_.empty()) continue;
    messages_.push_back({message["role"], message["content"]});
  }
  return absl::OkStatus();
}

absl::Status Conversation::Save(const std::string& path) {
  nlohmann::ordered_json note;
  if (generator_.options().raw) {
    note["text"] = text_;
  } else {
    note["messages"] = nlohmann::ordered_json::array();
    for (const chat::Message& message : messages_) {
      note["messages"].push_back({{"role", message.role}, {"content", message.content}});
    }
  }
  return generator_.session().Save(
      path, note.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

}  // namespace bantam::cli
