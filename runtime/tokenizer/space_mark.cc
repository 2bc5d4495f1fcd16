#include "runtime/tokenizer/space_mark.h"

#include "absl/strings/str_replace.h"

namespace bantam::tokenizer {

std::string MarkedTokenBytes(TokenKind kind, absl::string_view text, bool render_special) {
  switch (kind) {
    case TokenKind::kUnknown:
    case TokenKind::kControl:
      return render_special ? std::string(text) : "";
    case TokenKind::kUserDefined:
      return std::string(text);
    case TokenKind::kNormal:
      return absl::StrReplaceAll(text, {{kSpaceMark, " "}});
    case TokenKind::kByte: {
      const int byte = ParseByteToken(text);
      return byte < 0 ? "" : std::string(1, static_cast<char>(byte));
    }
    case TokenKind::kUndefined:
    case TokenKind::kUnused:
      break;
  }
  return "";
}

}  // namespace bantam::tokenizer
