// Python's string operations on UTF-8. A byte that is not part of valid UTF-8 counts as one
// character and is copied as it is.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace bantam::chat {

// The character at `*pos`, which moves past it. An invalid byte b gives 0xDC00 + b, the code point
// Python's surrogateescape uses. Needs *pos < text.size().
char32_t NextCharacter(absl::string_view text, size_t* pos);
void AppendUtf8(char32_t character, std::string* out);

bool IsAscii(absl::string_view text);
bool IsSpace(char32_t character);      // str.isspace
bool IsPrintable(char32_t character);  // str.isprintable
bool IsWord(char32_t character);       // \w of Python's re
bool IsAlpha(char32_t character);
bool IsDecimal(char32_t character);
bool IsNumeric(char32_t character);
bool IsUpper(char32_t character);
bool IsLower(char32_t character);

int64_t CharacterCount(absl::string_view text);
std::vector<absl::string_view> Characters(absl::string_view text);
// The bytes from character `begin` up to `end`; 0 <= begin <= end <= CharacterCount.
absl::string_view CharacterRange(absl::string_view text, int64_t begin, int64_t end);

// Strips whitespace, or the characters of `*chars` when it is given.
absl::string_view StripLeft(absl::string_view text, const std::string* chars = nullptr);
absl::string_view StripRight(absl::string_view text, const std::string* chars = nullptr);

std::string Upper(absl::string_view text);
std::string Lower(absl::string_view text);
std::string Capitalize(absl::string_view text);
std::string TitleWords(absl::string_view text);   // str.title
std::string TitleFilter(absl::string_view text);  // Jinja2's filter title
std::string SwapCase(absl::string_view text);

// At most `limit` splits when it is not negative. A non-empty separator.
std::vector<absl::string_view> Split(absl::string_view text, absl::string_view separator,
                                     int64_t limit);
std::vector<absl::string_view> SplitFromRight(absl::string_view text, absl::string_view separator,
                                              int64_t limit);
// On runs of whitespace; no empty pieces.
std::vector<absl::string_view> SplitSpaces(absl::string_view text, int64_t limit);
std::vector<absl::string_view> SplitSpacesFromRight(absl::string_view text, int64_t limit);
std::vector<absl::string_view> SplitLines(absl::string_view text, bool keep_ends = false);

// At most `limit` replacements when it is not negative. False when the result would pass
// `max_bytes`.
bool Replace(absl::string_view text, absl::string_view from, absl::string_view to, int64_t limit,
             size_t max_bytes, std::string* out);

std::string EscapeHtml(absl::string_view text);
// repr() of a str and of a float.
std::string ReprText(absl::string_view text);
std::string ReprFloat(double value);

}  // namespace bantam::chat
