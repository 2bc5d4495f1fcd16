#include "runtime/base/printable.h"

#include <utf8proc.h>

#include <algorithm>

#include "absl/strings/str_format.h"

namespace bantam {
namespace {

struct Character {
  int32_t code;  // -1 when the byte is not part of valid UTF-8
  size_t bytes;
};

// The first character of `text`, which is not empty.
Character Next(absl::string_view text) {
  int32_t code;
  // A character has at most 4 bytes, so that no length can overflow utf8proc's signed type.
  const auto length = static_cast<utf8proc_ssize_t>(std::min<size_t>(text.size(), 4));
  const utf8proc_ssize_t used =
      utf8proc_iterate(reinterpret_cast<const uint8_t*>(text.data()), length, &code);
  return used > 0 ? Character{code, static_cast<size_t>(used)} : Character{-1, 1};
}

// Control characters, line and paragraph separators, and the marks that change text direction:
// with them a name could hide what it says.
bool IsUnsafe(int32_t code) {
  return code < 0x20 || (code >= 0x7F && code < 0xA0) || code == 0x200E || code == 0x200F ||
         (code >= 0x2028 && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
}

}  // namespace

std::string Printable(absl::string_view text, size_t max_bytes) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const Character c = Next(text.substr(at));
    if (at + c.bytes > max_bytes) {
      out += "...";
      break;
    }
    if (c.code < 0) {
      absl::StrAppendFormat(&out, "\\x%02x", static_cast<unsigned char>(text[at]));
    } else if (c.code == '\n') {
      out += "\\n";
    } else if (c.code == '\t') {
      out += "\\t";
    } else if (c.code == '\r') {
      out += "\\r";
    } else if (c.code == '\\') {
      out += "\\\\";
    } else if (IsUnsafe(c.code)) {
      absl::StrAppendFormat(&out, "\\u{%x}", c.code);
    } else {
      out.append(text.data() + at, c.bytes);
    }
    at += c.bytes;
  }
  return out;
}

bool IsPlainText(absl::string_view text) {
  while (!text.empty()) {
    const Character c = Next(text);
    if (c.code < 0 || IsUnsafe(c.code)) return false;
    text.remove_prefix(c.bytes);
  }
  return true;
}

}  // namespace bantam
