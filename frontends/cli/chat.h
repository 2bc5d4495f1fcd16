// The interactive chat of `bantam run`.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "frontends/cli/conversation.h"
#include "frontends/cli/interrupt.h"

namespace bantam::cli {

// Talks until the end of the input, /exit, or Ctrl-C twice at the prompt, beginning with `first` if
// it is not empty; each answer's seed is one more than the last. Answers go to stdout; the prompt
// and remarks to stderr, the prompt only when stdin is a terminal. Returns the counts of all
// answers.
absl::StatusOr<Counts> Chat(Conversation& conversation, const std::string& first, uint64_t seed,
                            InterruptScope& interrupt);

}  // namespace bantam::cli
