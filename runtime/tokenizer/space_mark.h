// Vocabularies that spell a space as U+2581, and bytes as <0x00> to <0xFF>.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "runtime/tokenizer/vocabulary.h"

namespace bantam::tokenizer {

inline constexpr absl::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581

// What a token of such a vocabulary stands for; see Tokenizer::TokenBytes.
std::string MarkedTokenBytes(TokenKind kind, absl::string_view text, bool render_special);

}  // namespace bantam::tokenizer
