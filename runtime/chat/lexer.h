// Splits a template into tokens, as Jinja2 does with trim_blocks and lstrip_blocks on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace bantam::chat {

enum class TokenKind : uint8_t {
  kData,           // text outside of tags, stripped as the tags beside it ask
  kBlockBegin,     // {%
  kBlockEnd,       // %}
  kVariableBegin,  // {{
  kVariableEnd,    // }}
  kName,
  kString,  // text: with escapes resolved
  kInteger,
  kFloat,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  int line = 1;
  std::string text;
};

// The last token is kEnd. kInvalidArgument "line N: ..." for what is not a token.
absl::StatusOr<std::vector<Token>> Tokenize(absl::string_view source);

}  // namespace bantam::chat
