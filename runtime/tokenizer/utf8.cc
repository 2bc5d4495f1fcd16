#include "runtime/tokenizer/utf8.h"

#include <cstdint>
#include <cstring>

namespace bantam::tokenizer {
namespace {

constexpr bool IsContinuation(unsigned char b) { return (b & 0xC0) == 0x80; }

bool IsAscii8(const char* p) {
  uint64_t word;
  std::memcpy(&word, p, sizeof word);
  return (word & 0x8080808080808080u) == 0;
}

void AppendUtf8(uint32_t code, std::string& out) {
  if (code < 0x80) {
    out += static_cast<char>(code);
    return;
  }
  if (code < 0x800) {
    out += static_cast<char>(0xC0 | (code >> 6));
  } else {
    if (code < 0x10000) {
      out += static_cast<char>(0xE0 | (code >> 12));
    } else {
      out += static_cast<char>(0xF0 | (code >> 18));
      out += static_cast<char>(0x80 | ((code >> 12) & 0x3F));
    }
    out += static_cast<char>(0x80 | ((code >> 6) & 0x3F));
  }
  out += static_cast<char>(0x80 | (code & 0x3F));
}

// Whether the three bytes at `i` of repaired text encode U+D800 to U+DFFF.
bool IsSurrogate(absl::string_view text, size_t i) {
  return text[i] == '\xED' && i + 2 < text.size() &&
         static_cast<unsigned char>(text[i + 1]) >= 0xA0;
}

}  // namespace

Utf8Step NextUtf8(absl::string_view text, size_t position) {
  const auto* p = reinterpret_cast<const unsigned char*>(text.data()) + position;
  const size_t left = text.size() - position;
  const unsigned char lead = p[0];
  if (lead < 0x80) return {Utf8State::kValid, 1};
  if (lead < 0xC2 || lead > 0xF4) return {Utf8State::kInvalid, 1};
  const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte excludes overlong forms, surrogates and values above U+10FFFF.
  const unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (size_t i = 1; i < length; ++i) {
    if (i == left) return {Utf8State::kIncomplete, left};
    const bool good = i == 1 ? p[1] >= low && p[1] <= high : IsContinuation(p[i]);
    if (!good) return {Utf8State::kInvalid, i};
  }
  return {Utf8State::kValid, length};
}

bool IsUtf8(absl::string_view text) {
  for (size_t i = 0; i < text.size();) {
    if (i + 8 <= text.size() && IsAscii8(text.data() + i)) {
      i += 8;
      continue;
    }
    const Utf8Step step = NextUtf8(text, i);
    if (step.state != Utf8State::kValid) return false;
    i += step.length;
  }
  return true;
}

std::string RepairUtf8(absl::string_view text) {
  std::string out;
  out.reserve(text.size() + 16);
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    if (lead < 0x80) {
      out += text[i++];
      continue;
    }
    const size_t length = lead < 0xC0 || lead >= 0xF8 ? 0 : Utf8LengthByLead(text[i]);
    uint32_t code = lead & (0x7F >> length);
    size_t n = 1;
    while (n < length && i + n < text.size() &&
           IsContinuation(static_cast<unsigned char>(text[i + n]))) {
      code = code << 6 | (static_cast<unsigned char>(text[i + n++]) & 0x3F);
    }
    if (n == length && code <= 0x10FFFF) {
      AppendUtf8(code, out);
      i += length;
    } else {
      out.append(kReplacement.data(), kReplacement.size());
      ++i;
    }
  }
  return out;
}

std::string WithoutSurrogates(absl::string_view repaired) {
  std::string out(repaired);
  for (size_t i = 0; i < out.size(); i += Utf8LengthByLead(out[i])) {
    if (IsSurrogate(out, i)) out.replace(i, 3, "\xEE\x80\x80");
  }
  return out;
}

}  // namespace bantam::tokenizer
