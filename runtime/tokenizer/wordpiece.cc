#include "runtime/tokenizer/wordpiece.h"

#include <utf8proc.h>

#include <algorithm>
#include <deque>
#include <utility>

#include "absl/strings/str_replace.h"
#include "runtime/base/status.h"
#include "runtime/tokenizer/space_mark.h"
#include "runtime/tokenizer/utf8.h"
#include "runtime/tokenizer/word_cache.h"

namespace bantam::tokenizer {
namespace {

constexpr absl::string_view kWordStart = kSpaceMark;

// No token of a real vocabulary is longer. The time for a character grows with the square of this.
constexpr size_t kMaxToken = 256;

enum class Role { kLetter, kSpace, kDropped, kAccent, kAlone };

bool IsHan(utf8proc_int32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
         (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) ||
         (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

bool IsSpace(utf8proc_int32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

Role RoleOf(utf8proc_int32_t c) {
  if (IsSpace(c)) return Role::kSpace;
  if (c == 0 || c == 0xFFFD) return Role::kDropped;
  switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
      return Role::kDropped;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
      return Role::kAccent;
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
      return Role::kAlone;
    case UTF8PROC_CATEGORY_SM:
    case UTF8PROC_CATEGORY_SC:
    case UTF8PROC_CATEGORY_SK:
    case UTF8PROC_CATEGORY_SO:
      return c < 0x7F ? Role::kAlone : Role::kLetter;
    default:
      return IsHan(c) ? Role::kAlone : Role::kLetter;
  }
}

// The first character of the canonical decomposition. The peers drop what follows even where it is
// no accent (the vowels of Hangul syllables); ids must equal theirs.
utf8proc_int32_t Base(utf8proc_int32_t c) {
  utf8proc_int32_t parts[32];
  int boundary = 0;
  const utf8proc_ssize_t count =
      utf8proc_decompose_char(c, parts, std::size(parts), UTF8PROC_DECOMPOSE, &boundary);
  return count > 0 ? parts[0] : c;
}

}  // namespace

WordPieceTokenizer::WordPieceTokenizer(Vocabulary vocabulary, const Rules& rules)
    : Tokenizer(std::move(vocabulary)), rules_(rules) {
  for (absl::string_view text : vocabulary_.texts) longest_ = std::max(longest_, text.size());
  longest_ = std::min(longest_, kMaxToken);
}

absl::StatusOr<std::unique_ptr<Tokenizer>> WordPieceTokenizer::FromGguf(const gguf::File& file) {
  BANTAM_ASSIGN_OR_RETURN(Vocabulary vocabulary, LoadVocabulary(file));
  SpecialTokens& special = vocabulary.special;
  special.bos = vocabulary.Find("[CLS]");
  special.unk = vocabulary.Find("[UNK]");
  special.sep = vocabulary.Find("[SEP]");
  special.pad = vocabulary.Find("[PAD]");
  special.add_bos = true;
  special.add_sep = true;
  BANTAM_RETURN_IF_ERROR(LoadSpecialTokens(file, vocabulary));
  Rules rules;
  BANTAM_ASSIGN_OR_RETURN(
      rules.lowercase,
      gguf::Or(file.GetBool("tokenizer.ggml.normalizer.lowercase"), rules.lowercase));
  BANTAM_ASSIGN_OR_RETURN(
      rules.strip_accents,
      gguf::Or(file.GetBool("tokenizer.ggml.normalizer.strip_accents"), rules.lowercase));
  return std::unique_ptr<Tokenizer>(new WordPieceTokenizer(std::move(vocabulary), rules));
}

std::string WordPieceTokenizer::TokenBytes(TokenId id, bool render_special) const {
  switch (kind(id)) {
    case TokenKind::kControl:
    case TokenKind::kUnknown:
      return render_special ? std::string(text(id)) : "";
    case TokenKind::kUserDefined:
      return std::string(text(id));
    case TokenKind::kNormal:
      return absl::StrReplaceAll(text(id), {{kWordStart, " "}});
    default:
      return "";
  }
}

void WordPieceTokenizer::AppendWords(absl::string_view text, std::string& words,
                                     std::vector<size_t>& ends) const {
  bool in_word = false;
  const auto finish = [&] {
    if (in_word) ends.push_back(words.size());
    in_word = false;
  };
  const auto append = [&](const char* bytes, size_t count) {
    if (!in_word) words.append(kWordStart.data(), kWordStart.size());
    in_word = true;
    words.append(bytes, count);
  };
  for (size_t at = 0; at < text.size();) {
    const auto lead = static_cast<unsigned char>(text[at]);
    if (lead < 0x80) {  // the common case, without tables
      ++at;
      const char c = rules_.lowercase && lead >= 'A' && lead <= 'Z' ? static_cast<char>(lead + 32)
                                                                    : static_cast<char>(lead);
      if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z')) {
        append(&c, 1);
      } else if (IsSpace(lead)) {
        finish();
      } else if (lead > 0x20 && lead < 0x7F) {
        finish();
        append(&c, 1);
        finish();
      }
      continue;
    }
    utf8proc_int32_t code = 0;
    const utf8proc_ssize_t length =
        utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + at,
                         static_cast<utf8proc_ssize_t>(text.size() - at), &code);
    if (length <= 0) {
      ++at;
      continue;
    }
    at += length;
    if (rules_.strip_accents) code = Base(code);
    const Role role = RoleOf(code);
    if (role == Role::kSpace) {
      finish();
      continue;
    }
    if (role == Role::kDropped || (role == Role::kAccent && rules_.strip_accents)) continue;
    utf8proc_uint8_t bytes[4];
    const auto count = static_cast<size_t>(
        utf8proc_encode_char(rules_.lowercase ? utf8proc_tolower(code) : code, bytes));
    if (role == Role::kAlone) finish();
    append(reinterpret_cast<const char*>(bytes), count);
    if (role == Role::kAlone) finish();
  }
  finish();
}

void WordPieceTokenizer::EncodeWord(absl::string_view word, std::vector<TokenId>& out) const {
  const size_t first = out.size();
  for (size_t at = 0; at < word.size();) {
    TokenId found = kNoToken;
    for (size_t length = std::min(longest_, word.size() - at); length > 0; --length) {
      found = vocabulary_.Find(word.substr(at, length));
      if (found == kNoToken) continue;
      at += length;
      break;
    }
    if (found == kNoToken) {
      out.resize(first);
      break;
    }
    out.push_back(found);
  }
  if (out.size() == first && special().unk != kNoToken) out.push_back(special().unk);
}

void WordPieceTokenizer::EncodeFragments(std::span<const Fragment> fragments,
                                         std::vector<TokenId>& out) const {
  std::deque<std::string> cleaned;  // kept, because the cache points into them
  std::vector<size_t> ends;
  WordCache cache;
  for (const Fragment& fragment : fragments) {
    if (fragment.token != kNoToken) {
      out.push_back(fragment.token);
      continue;
    }
    std::string& words = cleaned.emplace_back();
    words.reserve(fragment.text.size() + fragment.text.size() / 2);
    ends.clear();
    AppendWords(IsUtf8(fragment.text) ? fragment.text : RepairUtf8(fragment.text), words, ends);
    size_t begin = 0;
    for (const size_t end : ends) {
      const absl::string_view word = absl::string_view(words).substr(begin, end - begin);
      begin = end;
      if (cache.Append(word, out)) continue;
      const size_t first = out.size();
      EncodeWord(word, out);
      cache.Remember(word, first, out);
    }
  }
}

}  // namespace bantam::tokenizer
