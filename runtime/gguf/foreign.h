// Recognising what people pass in place of a GGUF file.
#pragma once

#include <cstddef>
#include <span>

#include "absl/status/status.h"

namespace bantam::gguf {

// The error for contents that do not start with "GGUF": names the format where it is known and
// says what to do. Always an error; the message continues a sentence that starts with the file's
// name ("is a ZIP archive ...").
absl::Status ExplainForeign(std::span<const std::byte> bytes);

}  // namespace bantam::gguf
