#include "runtime/chat/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "runtime/chat/special_casing.h"

namespace bantam::chat {
namespace {

constexpr char32_t kInvalidBase = 0xDC00;  // what an invalid byte is added to

bool IsInvalidByte(char32_t c) { return c >= kInvalidBase + 0x80 && c <= kInvalidBase + 0xFF; }

utf8proc_category_t Category(char32_t c) {
  if (c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) return UTF8PROC_CATEGORY_CS;
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

const SpecialCase* FindSpecialCase(char32_t c) {
  const auto* end = std::end(kSpecialCases);
  const auto* at = std::lower_bound(
      std::begin(kSpecialCases), end, c,
      [](const SpecialCase& entry, char32_t value) { return entry.character < value; });
  return at != end && at->character == c ? at : nullptr;
}

void AppendUpper(char32_t c, std::string* out) {
  if (c < 0x80) {
    out->push_back(static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c));
  } else if (const SpecialCase* special = FindSpecialCase(c)) {
    out->append(special->upper);
  } else {
    AppendUtf8(IsInvalidByte(c)
                   ? c
                   : static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))),
               out);
  }
}

void AppendTitle(char32_t c, std::string* out) {
  if (c < 0x80) return AppendUpper(c, out);
  if (const SpecialCase* special = FindSpecialCase(c)) {
    out->append(special->title);
  } else {
    AppendUtf8(IsInvalidByte(c)
                   ? c
                   : static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c))),
               out);
  }
}

bool IsCased(char32_t c) { return IsUpper(c) || IsLower(c) || Category(c) == UTF8PROC_CATEGORY_LT; }

// Unicode's Case_Ignorable: marks, format and modifier characters, and a few marks of punctuation.
bool IsCaseIgnorable(char32_t c) {
  switch (Category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      return c == '\'' || c == '.' || c == ':' || c == 0xB7 || c == 0x2018 || c == 0x2019 ||
             c == 0x2024 || c == 0x2027;
  }
}

size_t PreviousCharacter(absl::string_view text, size_t end);

// A capital sigma that ends a word has a lower case of its own (Unicode's Final_Sigma).
bool IsFinalSigma(absl::string_view text, size_t begin, size_t end) {
  bool after_cased = false;
  while (begin > 0) {
    size_t pos = begin = PreviousCharacter(text, begin);
    const char32_t c = NextCharacter(text, &pos);
    if (IsCaseIgnorable(c)) continue;
    after_cased = IsCased(c);
    break;
  }
  if (!after_cased) return false;
  while (end < text.size()) {
    const char32_t c = NextCharacter(text, &end);
    if (!IsCaseIgnorable(c)) return !IsCased(c);
  }
  return true;
}

// The character `c` lies at [begin, end) of `text`.
void AppendLower(absl::string_view text, size_t begin, size_t end, char32_t c, std::string* out) {
  if (c < 0x80) {
    out->push_back(static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c));
  } else if (c == 0x130) {  // capital I with a dot: i and a combining dot
    out->append("i\u0307");
  } else if (c == 0x3A3) {
    AppendUtf8(IsFinalSigma(text, begin, end) ? 0x3C2 : 0x3C3, out);
  } else {
    AppendUtf8(IsInvalidByte(c)
                   ? c
                   : static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))),
               out);
  }
}

bool InSet(char32_t c, absl::string_view set) {
  for (size_t pos = 0; pos < set.size();) {
    if (NextCharacter(set, &pos) == c) return true;
  }
  return false;
}

// The start of the character that ends at `end`.
size_t PreviousCharacter(absl::string_view text, size_t end) {
  for (size_t back = 2; back <= 4 && back <= end; ++back) {
    size_t pos = end - back;
    NextCharacter(text, &pos);
    if (pos == end) return end - back;
  }
  return end - 1;
}

}  // namespace

char32_t NextCharacter(absl::string_view text, size_t* pos) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(*pos);
  if (first < 0x80) {
    ++*pos;
    return first;
  }
  const int length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first >= 0xC2 && first <= 0xF4 && *pos + length <= text.size()) {
    char32_t c = first & (0xFF >> (length + 1));
    bool valid = true;
    for (int i = 1; i < length; ++i) {
      valid &= (byte(*pos + i) & 0xC0) == 0x80;
      c = (c << 6) | (byte(*pos + i) & 0x3F);
    }
    constexpr char32_t kShortest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (valid && c >= kShortest[length] && c <= 0x10FFFF && !(c >= 0xD800 && c <= 0xDFFF)) {
      *pos += length;
      return c;
    }
  }
  ++*pos;
  return kInvalidBase + first;
}

void AppendUtf8(char32_t c, std::string* out) {
  if (IsInvalidByte(c)) {
    out->push_back(static_cast<char>(c - kInvalidBase));
  } else if (c < 0x80) {
    out->push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    out->push_back(static_cast<char>(0xC0 | (c >> 6)));
    out->push_back(static_cast<char>(0x80 | (c & 0x3F)));
  } else if (c < 0x10000) {
    out->push_back(static_cast<char>(0xE0 | (c >> 12)));
    out->push_back(static_cast<char>(0x80 | ((c >> 6) & 0x3F)));
    out->push_back(static_cast<char>(0x80 | (c & 0x3F)));
  } else {
    out->push_back(static_cast<char>(0xF0 | (c >> 18)));
    out->push_back(static_cast<char>(0x80 | ((c >> 12) & 0x3F)));
    out->push_back(static_cast<char>(0x80 | ((c >> 6) & 0x3F)));
    out->push_back(static_cast<char>(0x80 | (c & 0x3F)));
  }
}

bool IsAscii(absl::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

bool IsSpace(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x1F);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool IsPrintable(char32_t c) {
  switch (Category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    case UTF8PROC_CATEGORY_ZS:
      return c == ' ';
    default:
      return true;
  }
}

bool IsWord(char32_t c) { return c == '_' || IsAlpha(c) || IsNumeric(c); }
bool IsAlpha(char32_t c) {
  const utf8proc_category_t category = Category(c);
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}
bool IsDecimal(char32_t c) { return Category(c) == UTF8PROC_CATEGORY_ND; }
bool IsNumeric(char32_t c) {
  const utf8proc_category_t category = Category(c);
  return category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
}
bool IsUpper(char32_t c) {
  if (c < 0x80) return c >= 'A' && c <= 'Z';
  return !IsInvalidByte(c) && utf8proc_isupper(static_cast<utf8proc_int32_t>(c)) != 0;
}
bool IsLower(char32_t c) {
  if (c < 0x80) return c >= 'a' && c <= 'z';
  return !IsInvalidByte(c) && utf8proc_islower(static_cast<utf8proc_int32_t>(c)) != 0;
}

int64_t CharacterCount(absl::string_view text) {
  if (IsAscii(text)) return static_cast<int64_t>(text.size());
  int64_t count = 0;
  for (size_t pos = 0; pos < text.size(); ++count) NextCharacter(text, &pos);
  return count;
}

std::vector<absl::string_view> Characters(absl::string_view text) {
  std::vector<absl::string_view> characters;
  for (size_t pos = 0; pos < text.size();) {
    const size_t begin = pos;
    NextCharacter(text, &pos);
    characters.push_back(text.substr(begin, pos - begin));
  }
  return characters;
}

absl::string_view CharacterRange(absl::string_view text, int64_t begin, int64_t end) {
  if (IsAscii(text)) return text.substr(begin, end - begin);
  size_t pos = 0;
  int64_t index = 0;
  for (; index < begin && pos < text.size(); ++index) NextCharacter(text, &pos);
  const size_t first = pos;
  for (; index < end && pos < text.size(); ++index) NextCharacter(text, &pos);
  return text.substr(first, pos - first);
}

absl::string_view StripLeft(absl::string_view text, const std::string* chars) {
  size_t begin = 0;
  while (begin < text.size()) {
    size_t pos = begin;
    const char32_t c = NextCharacter(text, &pos);
    if (chars != nullptr ? !InSet(c, *chars) : !IsSpace(c)) break;
    begin = pos;
  }
  return text.substr(begin);
}

absl::string_view StripRight(absl::string_view text, const std::string* chars) {
  size_t end = text.size();
  while (end > 0) {
    const size_t begin = PreviousCharacter(text, end);
    size_t pos = begin;
    const char32_t c = NextCharacter(text, &pos);
    if (chars != nullptr ? !InSet(c, *chars) : !IsSpace(c)) break;
    end = begin;
  }
  return text.substr(0, end);
}

std::string Upper(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) AppendUpper(NextCharacter(text, &pos), &out);
  return out;
}

std::string Lower(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    const size_t begin = pos;
    const char32_t c = NextCharacter(text, &pos);
    AppendLower(text, begin, pos, c, &out);
  }
  return out;
}

std::string Capitalize(absl::string_view text) {
  std::string out;
  for (size_t pos = 0; pos < text.size();) {
    const size_t begin = pos;
    const char32_t c = NextCharacter(text, &pos);
    if (begin == 0) {
      AppendTitle(c, &out);
    } else {
      AppendLower(text, begin, pos, c, &out);
    }
  }
  return out;
}

std::string TitleWords(absl::string_view text) {
  std::string out;
  bool in_word = false;
  for (size_t pos = 0; pos < text.size();) {
    const size_t begin = pos;
    const char32_t c = NextCharacter(text, &pos);
    if (in_word) {
      AppendLower(text, begin, pos, c, &out);
    } else {
      AppendTitle(c, &out);
    }
    in_word = IsCased(c);
  }
  return out;
}

std::string TitleFilter(absl::string_view text) {
  // Words are what lies between runs of these; a word starts with upper case, the rest is lower.
  const auto separates = [](char32_t c) {
    return c == '-' || c == '(' || c == '{' || c == '[' || c == '<' || IsSpace(c);
  };
  std::string out;
  for (size_t pos = 0; pos < text.size();) {
    size_t end = pos;
    const char32_t first = NextCharacter(text, &end);
    if (separates(first)) {
      absl::StrAppend(&out, text.substr(pos, end - pos));
      pos = end;
      continue;
    }
    AppendUpper(first, &out);
    const size_t rest = end;
    while (end < text.size()) {
      size_t next = end;
      if (separates(NextCharacter(text, &next))) break;
      end = next;
    }
    absl::StrAppend(&out, Lower(text.substr(rest, end - rest)));
    pos = end;
  }
  return out;
}

std::string SwapCase(absl::string_view text) {
  std::string out;
  for (size_t pos = 0; pos < text.size();) {
    const size_t begin = pos;
    const char32_t c = NextCharacter(text, &pos);
    if (IsUpper(c)) {
      AppendLower(text, begin, pos, c, &out);
    } else if (IsLower(c)) {
      AppendUpper(c, &out);
    } else {
      AppendUtf8(c, &out);
    }
  }
  return out;
}

std::vector<absl::string_view> Split(absl::string_view text, absl::string_view separator,
                                     int64_t limit) {
  std::vector<absl::string_view> pieces;
  size_t begin = 0;
  while (limit < 0 || static_cast<int64_t>(pieces.size()) < limit) {
    const size_t at = text.find(separator, begin);
    if (at == absl::string_view::npos) break;
    pieces.push_back(text.substr(begin, at - begin));
    begin = at + separator.size();
  }
  pieces.push_back(text.substr(begin));
  return pieces;
}

std::vector<absl::string_view> SplitFromRight(absl::string_view text, absl::string_view separator,
                                              int64_t limit) {
  std::vector<absl::string_view> pieces;
  while (limit < 0 || static_cast<int64_t>(pieces.size()) < limit) {
    const size_t at = text.rfind(separator);
    if (at == absl::string_view::npos) break;
    pieces.push_back(text.substr(at + separator.size()));
    text = text.substr(0, at);
  }
  pieces.push_back(text);
  std::reverse(pieces.begin(), pieces.end());
  return pieces;
}

std::vector<absl::string_view> SplitSpaces(absl::string_view text, int64_t limit) {
  std::vector<absl::string_view> pieces;
  text = StripLeft(text);
  while (!text.empty()) {
    if (limit >= 0 && static_cast<int64_t>(pieces.size()) == limit) {
      pieces.push_back(text);
      break;
    }
    size_t end = 0;
    while (end < text.size()) {
      size_t next = end;
      if (IsSpace(NextCharacter(text, &next))) break;
      end = next;
    }
    pieces.push_back(text.substr(0, end));
    text = StripLeft(text.substr(end));
  }
  return pieces;
}

std::vector<absl::string_view> SplitSpacesFromRight(absl::string_view text, int64_t limit) {
  std::vector<absl::string_view> pieces;
  text = StripRight(text);
  while (!text.empty()) {
    if (limit >= 0 && static_cast<int64_t>(pieces.size()) == limit) {
      pieces.push_back(text);
      break;
    }
    size_t begin = text.size();
    while (begin > 0) {
      const size_t previous = PreviousCharacter(text, begin);
      size_t pos = previous;
      if (IsSpace(NextCharacter(text, &pos))) break;
      begin = previous;
    }
    pieces.push_back(text.substr(begin));
    text = StripRight(text.substr(0, begin));
  }
  std::reverse(pieces.begin(), pieces.end());
  return pieces;
}

std::vector<absl::string_view> SplitLines(absl::string_view text, bool keep_ends) {
  std::vector<absl::string_view> lines;
  size_t begin = 0;
  for (size_t pos = 0; pos < text.size();) {
    const size_t end = pos;
    const char32_t c = NextCharacter(text, &pos);
    const bool is_break = (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 ||
                          c == 0x2028 || c == 0x2029;
    if (!is_break) continue;
    if (c == '\r' && pos < text.size() && text[pos] == '\n') ++pos;
    lines.push_back(text.substr(begin, (keep_ends ? pos : end) - begin));
    begin = pos;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

bool Replace(absl::string_view text, absl::string_view from, absl::string_view to, int64_t limit,
             size_t max_bytes, std::string* out) {
  out->clear();
  size_t pos = 0;
  for (int64_t done = 0; limit < 0 || done < limit; ++done) {
    if (from.empty()) {
      // Between all characters, before the first and after the last.
      if (done > 0 && pos >= text.size()) break;
      if (done > 0) {
        const size_t begin = pos;
        NextCharacter(text, &pos);
        absl::StrAppend(out, text.substr(begin, pos - begin));
      }
      absl::StrAppend(out, to);
    } else {
      const size_t at = text.find(from, pos);
      if (at == absl::string_view::npos) break;
      absl::StrAppend(out, text.substr(pos, at - pos));
      absl::StrAppend(out, to);
      pos = at + from.size();
    }
    if (out->size() > max_bytes) return false;
  }
  if (pos < text.size()) absl::StrAppend(out, text.substr(pos));
  return out->size() <= max_bytes;
}

std::string EscapeHtml(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string ReprText(absl::string_view text) {
  const bool double_quotes =
      text.find('\'') != absl::string_view::npos && text.find('"') == absl::string_view::npos;
  const char32_t quote = double_quotes ? '"' : '\'';
  std::string out(1, static_cast<char>(quote));
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = NextCharacter(text, &pos);
    if (c == quote || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (IsPrintable(c)) {
      AppendUtf8(c, &out);
    } else {
      const auto number = static_cast<uint32_t>(c);
      absl::StrAppend(&out, number < 0x100     ? absl::StrFormat("\\x%02x", number)
                            : number < 0x10000 ? absl::StrFormat("\\u%04x", number)
                                               : absl::StrFormat("\\U%08x", number));
    }
  }
  out += static_cast<char>(quote);
  return out;
}

std::string ReprFloat(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  // The shortest digits that read back as the same number, written without an exponent between
  // 1e-4 and 1e16.
  char buffer[64];
  const auto scientific =
      std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::scientific);
  const absl::string_view text(buffer, scientific.ptr - buffer);
  const size_t e = text.find('e');
  int exponent = 0;
  const size_t digits_at = e + 1 + (text[e + 1] == '+' ? 1 : 0);
  std::from_chars(text.data() + digits_at, text.data() + text.size(), exponent);
  if (exponent < -4 || exponent >= 16) {
    return absl::StrCat(text.substr(0, e), absl::StrFormat("e%+03d", exponent));
  }
  const auto fixed =
      std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::fixed);
  std::string out(buffer, fixed.ptr - buffer);
  if (out.find('.') == std::string::npos) out += ".0";
  return out;
}

}  // namespace bantam::chat
