// UTF-8, well-formed and otherwise.
#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace bantam::tokenizer {

inline constexpr absl::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

enum class Utf8State {
  kValid,
  kInvalid,     // bytes that can't be part of a character: a maximal subpart
  kIncomplete,  // the text ends within a character
};
struct Utf8Step {
  Utf8State state;
  size_t length;  // 1 to 4 bytes, never past the end
};

// The character or ill-formed subpart at `position` < text.size() (Unicode 15, table 3-7).
Utf8Step NextUtf8(absl::string_view text, size_t position);

bool IsUtf8(absl::string_view text);

// How byte-level BPE reads bytes that are not UTF-8, so that ids equal llama.cpp's: the shape of
// a sequence counts, not its value. Overlong forms become the shortest form, encoded surrogates
// stay, and each byte that is not part of a sequence becomes U+FFFD.
std::string RepairUtf8(absl::string_view text);

// Repaired text with each encoded surrogate replaced by U+E000, which is as long and as little a
// letter, for a regular expression engine that takes no surrogates.
std::string WithoutSurrogates(absl::string_view repaired);

// The bytes a SentencePiece symbol has by its first byte alone; the text may end before that.
inline size_t Utf8LengthByLead(char lead) {
  const auto b = static_cast<unsigned char>(lead);
  return b < 0xC0 ? 1 : b < 0xE0 ? 2 : b < 0xF0 ? 3 : 4;
}

}  // namespace bantam::tokenizer
