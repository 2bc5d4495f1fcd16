// The interactive chat of `bantam run`.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "frontends/cli/generate.h"
#include "frontends/cli/interrupt.h"

namespace bantam::cli {

struct ChatOptions {
  std::string system;
  bool raw = false;   // lines continue one text, without a template
  std::string first;  // the first message, if not empty
  uint64_t seed = 0;  // of the first answer; each later one adds 1
};

// Talks until the end of the input, /exit, or Ctrl-C twice at the prompt. Answers go to stdout;
// the prompt and remarks to stderr, the prompt only when stdin is a terminal. Returns the counts of
// all answers.
absl::StatusOr<Counts> Chat(const engine::Model& model, Generator& generator,
                            const ChatOptions& options, InterruptScope& interrupt);

}  // namespace bantam::cli
