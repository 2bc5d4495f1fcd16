// Strings of a JSON schema as GBNF: pattern and format.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/grammar/syntax.h"

namespace bantam::grammar {

// One character of `ranges` as it stands within a JSON string, escaped where JSON wants it.
std::string JsonCharacter(const std::vector<CharRange>& ranges);

// The inside of a JSON string that a regular expression (ECMA-262) matches somewhere, or where ^
// and $ say. kUnimplemented names what is not regular or not supported: look-around, references to
// groups, \b, \p, anchors elsewhere; kInvalidArgument what is no regular expression.
absl::StatusOr<std::string> PatternToGbnf(absl::string_view pattern);

// The inside of a JSON string of a format; "" for one that is not supported.
std::string FormatToGbnf(absl::string_view format);

// `text` as a GBNF literal, in quotes.
std::string GbnfLiteral(absl::string_view text);

}  // namespace bantam::grammar
