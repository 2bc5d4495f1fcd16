// Text from files and users, made safe to put into a one-line message or on a terminal.
#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace bantam {

// Every character as it is, except: \n, \t and \r as written here, other control characters and
// the marks that reorder or break lines as \u{202e}, bytes that are not UTF-8 as \xff, and \ as
// \\. Of text longer than `max_bytes` the start is shown, cut at a whole character, and "...".
std::string Printable(absl::string_view text, size_t max_bytes = 80);

// True when `text` is UTF-8 without any of the characters that Printable escapes for the
// terminal's sake (so a backslash is plain).
bool IsPlainText(absl::string_view text);

}  // namespace bantam
