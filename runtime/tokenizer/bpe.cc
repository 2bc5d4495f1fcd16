#include "runtime/tokenizer/bpe.h"

#include <deque>
#include <utility>

#include "runtime/base/printable.h"
#include "runtime/base/status.h"
#include "runtime/tokenizer/pre_tokenizers.h"
#include "runtime/tokenizer/utf8.h"
#include "runtime/tokenizer/word_cache.h"

namespace bantam::tokenizer {
namespace {

constexpr char kPre[] = "tokenizer.ggml.pre";

// How GPT-2 spells bytes: printable Latin-1 as itself, the other 68 as U+0100 and up.
constexpr bool IsSpelledAsItself(uint32_t byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xFF && byte != 0xAD);
}
struct ByteSpelling {
  std::array<uint16_t, 256> code{};      // of a byte
  std::array<int16_t, 256 + 68> byte{};  // of a code point, -1 for those that spell none
  constexpr ByteSpelling() {
    byte.fill(-1);
    uint16_t next = 256;
    for (uint32_t b = 0; b < 256; ++b) {
      code[b] = IsSpelledAsItself(b) ? static_cast<uint16_t>(b) : next++;
      byte[code[b]] = static_cast<int16_t>(b);
    }
  }
};
constexpr ByteSpelling kSpelling;

std::string Spell(unsigned char byte) {
  const uint16_t code = kSpelling.code[byte];
  if (code < 0x80) return std::string(1, static_cast<char>(code));
  return {static_cast<char>(0xC0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3F))};
}

// The bytes that `text`, valid UTF-8, spells. Characters that spell none stay as they are.
void AppendSpelledBytes(absl::string_view text, std::string& out) {
  for (size_t i = 0; i < text.size();) {
    const size_t length = Utf8LengthByLead(text[i]);
    uint32_t code = 0xFFFF;
    if (length == 1) code = static_cast<unsigned char>(text[i]);
    if (length == 2) code = (text[i] & 0x1Fu) << 6 | (text[i + 1] & 0x3Fu);
    if (code < kSpelling.byte.size() && kSpelling.byte[code] >= 0) {
      out += static_cast<char>(kSpelling.byte[code]);
    } else {
      out.append(text.data() + i, length);
    }
    i += length;
  }
}

}  // namespace

BpeTokenizer::BpeTokenizer(Vocabulary vocabulary, Splitter splitter, MergeRules rules,
                           std::unique_ptr<WholeWords> whole_words)
    : Tokenizer(std::move(vocabulary)),
      splitter_(std::move(splitter)),
      rules_(std::move(rules)),
      whole_words_(std::move(whole_words)) {
  for (int b = 0; b < 256; ++b) {
    byte_symbols_[b] = rules_.Find(vocabulary_, Spell(static_cast<unsigned char>(b)));
  }
}

absl::StatusOr<std::unique_ptr<Tokenizer>> BpeTokenizer::FromGguf(const gguf::File& file) {
  BANTAM_ASSIGN_OR_RETURN(const absl::string_view pre,
                          gguf::Or(file.GetString(kPre), absl::string_view()));
  const PreTokenizer* pre_tokenizer = FindPreTokenizer(pre);
  if (pre_tokenizer == nullptr) {
    return absl::UnimplementedError(
        absl::StrCat(kPre, " is ", Printable(pre), ", which is not supported"));
  }
  BANTAM_ASSIGN_OR_RETURN(Vocabulary v, LoadVocabulary(file));
  v.special.add_bos = pre_tokenizer->add_bos;
  BANTAM_RETURN_IF_ERROR(LoadSpecialTokens(file, v));
  v.special.add_space_prefix = false;  // means nothing to byte-level BPE, but some files set it
  BANTAM_ASSIGN_OR_RETURN(Splitter splitter, Splitter::Make(pre_tokenizer->patterns));
  BANTAM_ASSIGN_OR_RETURN(MergeRules rules, MergeRules::FromGguf(file, v));
  auto whole_words = pre_tokenizer->ignore_merges ? CollectWholeWords(v) : nullptr;
  return std::unique_ptr<Tokenizer>(new BpeTokenizer(std::move(v), std::move(splitter),
                                                     std::move(rules), std::move(whole_words)));
}

std::unique_ptr<BpeTokenizer::WholeWords> BpeTokenizer::CollectWholeWords(const Vocabulary& v) {
  auto words = std::make_unique<WholeWords>();
  size_t bytes = 0;  // spelling never shortens
  for (const absl::string_view text : v.texts) bytes += text.size();
  words->bytes.reserve(bytes);
  words->ids.reserve(v.texts.size());
  for (TokenId id = 0; id < v.size(); ++id) {
    const size_t begin = words->bytes.size();
    AppendSpelledBytes(v.texts[id], words->bytes);
    const auto word = absl::string_view(words->bytes).substr(begin);
    if (!word.empty()) words->ids.emplace(word, id);
  }
  return words;
}

std::string BpeTokenizer::TokenBytes(TokenId id, bool render_special) const {
  switch (kind(id)) {
    case TokenKind::kUnknown:
    case TokenKind::kControl:
      return render_special ? std::string(text(id)) : "";
    case TokenKind::kUserDefined:
      return std::string(text(id));
    case TokenKind::kNormal:
    case TokenKind::kByte: {
      const int byte = kind(id) == TokenKind::kByte ? ParseByteToken(text(id)) : -1;
      if (byte >= 0) return std::string(1, static_cast<char>(byte));
      std::string bytes;
      AppendSpelledBytes(text(id), bytes);
      return bytes;
    }
    case TokenKind::kUndefined:
    case TokenKind::kUnused:
      break;
  }
  return "";
}

void BpeTokenizer::EncodeWord(absl::string_view word, Merger& merger,
                              std::vector<TokenId>& out) const {
  const auto emit = [&](int32_t symbol, absl::string_view bytes) {
    if (vocabulary_.Contains(symbol)) {
      out.push_back(symbol);
      return;
    }
    for (const char b : bytes) {
      const int32_t single = byte_symbols_[static_cast<unsigned char>(b)];
      if (vocabulary_.Contains(single)) out.push_back(single);
    }
  };
  if (whole_words_ != nullptr) {
    if (const auto it = whole_words_->ids.find(word); it != whole_words_->ids.end()) {
      out.push_back(it->second);
      return;
    }
  }
  merger.Clear();
  for (size_t i = 0; i < word.size(); ++i) {
    merger.Add(static_cast<uint32_t>(i), 1, byte_symbols_[static_cast<unsigned char>(word[i])]);
  }
  merger.Merge(
      [&](const Symbol& left, const Symbol& right) { return rules_.Rule(left.id, right.id); });
  merger.ForEach([&](const Symbol& s) { emit(s.id, word.substr(s.begin, s.length)); });
}

void BpeTokenizer::EncodeFragments(std::span<const Fragment> fragments,
                                   std::vector<TokenId>& out) const {
  std::deque<std::string> repaired;  // kept, because the cache points into them
  std::vector<size_t> ends;
  WordCache cache;
  Merger merger;
  for (const Fragment& fragment : fragments) {
    if (fragment.token != kNoToken) {
      out.push_back(fragment.token);
      continue;
    }
    absl::string_view text = fragment.text;
    if (IsUtf8(text)) {
      splitter_.Split(text, ends);
    } else {
      text = repaired.emplace_back(RepairUtf8(text));
      splitter_.Split(WithoutSurrogates(text), ends);
    }
    size_t begin = 0;
    for (const size_t end : ends) {
      for (; begin < end; begin = std::min(end, begin + Merger::kMaxWord)) {
        const absl::string_view word = text.substr(begin, std::min(end - begin, Merger::kMaxWord));
        if (cache.Append(word, out)) continue;
        const size_t first = out.size();
        EncodeWord(word, merger, out);
        cache.Remember(word, first, out);
      }
      begin = end;
    }
  }
}

}  // namespace bantam::tokenizer
