// Messages, and the answers to them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "frontends/cli/generate.h"

namespace bantam::cli {

// A chat by the model's template or, with the generator's option `raw`, one text that is continued.
class Conversation {
 public:
  // `generator` must outlive this. `system`: the system message, if not empty.
  Conversation(Generator& generator, std::string system);

  Generator& generator() { return generator_; }

  // Adds a message, or text, and answers. kResourceExhausted, and the message is forgotten, when it
  // does not fit in the context; with a context shift the oldest messages make room first.
  absl::StatusOr<Answer> Say(const std::string& message, uint64_t seed, Generator::Emit emit,
                             absl::FunctionRef<bool()> stop);
  // Answers the last message again; kNotFound when there is none.
  absl::StatusOr<Answer> Regenerate(uint64_t seed, Generator::Emit emit,
                                    absl::FunctionRef<bool()> stop);
  // Forgets everything but the system message.
  void Clear();

  // Takes up what Save wrote, if the file is there.
  absl::Status Restore(const std::string& path);
  absl::Status Save(const std::string& path);

 private:
  absl::StatusOr<Answer> AnswerLast(uint64_t seed, Generator::Emit emit,
                                    absl::FunctionRef<bool()> stop);
  absl::StatusOr<std::string> Prompt() const;
  // Tokens of the system message, which a context shift keeps; -1: none.
  int64_t KeptTokens(const std::string& prompt) const;

  Generator& generator_;
  const std::string system_;
  std::vector<chat::Message> messages_;
  std::string text_;           // raw: everything so far
  std::string before_answer_;  // raw: what the last answer continued
};

}  // namespace bantam::cli
