#include "runtime/tokenizer/splitter.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>

#include "runtime/base/status.h"

namespace bantam::tokenizer {
namespace {

constexpr absl::string_view kWhiteSpace =
    "\\t-\\r \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}"
    "\\x{3000}";

// Spells out \s and \S, which may also stand in a class (\S not).
std::string SpellOutSpaces(absl::string_view pattern) {
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\' && i + 1 < pattern.size()) {
      const char escaped = pattern[++i];
      if (escaped == 's' && in_class) {
        absl::StrAppend(&out, kWhiteSpace);
      } else if (escaped == 's' || escaped == 'S') {
        absl::StrAppend(&out, escaped == 's' ? "[" : "[^", kWhiteSpace, "]");
      } else {
        out += c;
        out += escaped;
      }
      continue;
    }
    if (c == '[') in_class = true;
    if (c == ']') in_class = false;
    out += c;
  }
  return out;
}

struct Free {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};

}  // namespace

class Splitter::Expression {
 public:
  static absl::StatusOr<Expression> Compile(absl::string_view pattern) {
    const std::string spelled = SpellOutSpaces(pattern);
    int error = 0;
    PCRE2_SIZE offset = 0;
    std::unique_ptr<pcre2_code, Free> code(
        pcre2_compile(reinterpret_cast<PCRE2_SPTR>(spelled.data()), spelled.size(),
                      PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK, &error, &offset, nullptr));
    if (code == nullptr) {
      char message[256] = "";
      pcre2_get_error_message(error, reinterpret_cast<PCRE2_UCHAR*>(message), sizeof message);
      return absl::InternalError(
          absl::StrCat("pre-tokenizer pattern ", pattern, " at ", offset, ": ", message));
    }
    // Without a JIT compiler for this machine, matching interprets the pattern.
    pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);
    return Expression(std::move(code));
  }

  // Appends the ends of the pieces of text[begin, end).
  void Split(absl::string_view text, size_t begin, size_t end, pcre2_match_data* data,
             pcre2_match_context* context, std::vector<size_t>& ends) const {
    // A subject of its own: what is outside counts neither as space nor as letter.
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data() + begin);
    const size_t size = end - begin;
    const PCRE2_SIZE* match = pcre2_get_ovector_pointer(data);
    size_t piece = 0;
    size_t position = 0;
    while (position < size) {
      int found =
          pcre2_match(code_.get(), subject, size, position, PCRE2_NO_UTF_CHECK, data, context);
      if (found == PCRE2_ERROR_JIT_STACKLIMIT) {
        found = pcre2_match(code_.get(), subject, size, position, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                            data, context);
      }
      if (found < 0) break;
      if (match[0] > piece) ends.push_back(begin + match[0]);
      if (match[1] > match[0]) ends.push_back(begin + match[1]);
      piece = match[1];
      // An empty match must not be found again.
      position = match[1] > match[0] ? match[1] : match[1] + 1;
      while (position < size && (subject[position] & 0xC0) == 0x80) ++position;
    }
    if (piece < size) ends.push_back(end);
  }

 private:
  explicit Expression(std::unique_ptr<pcre2_code, Free> code) : code_(std::move(code)) {}
  std::unique_ptr<pcre2_code, Free> code_;
};

Splitter::Splitter() = default;
Splitter::Splitter(Splitter&&) noexcept = default;
Splitter& Splitter::operator=(Splitter&&) noexcept = default;
Splitter::~Splitter() = default;

absl::StatusOr<Splitter> Splitter::Make(std::span<const absl::string_view> patterns) {
  Splitter splitter;
  for (const absl::string_view pattern : patterns) {
    BANTAM_ASSIGN_OR_RETURN(Expression expression, Expression::Compile(pattern));
    splitter.expressions_.push_back(std::move(expression));
  }
  return splitter;
}

void Splitter::Split(absl::string_view text, std::vector<size_t>& ends) const {
  ends.clear();
  if (text.empty()) return;
  ends.push_back(text.size());
  std::unique_ptr<pcre2_match_data, Free> data(pcre2_match_data_create(1, nullptr));
  std::unique_ptr<pcre2_match_context, Free> context(pcre2_match_context_create(nullptr));
  if (data == nullptr || context == nullptr) return;
  // Enough to step back over all of the text a few times: the patterns in use need no more.
  const uint64_t steps = std::max<uint64_t>(1000000, 16 * static_cast<uint64_t>(text.size()));
  pcre2_set_match_limit(context.get(), static_cast<uint32_t>(std::min<uint64_t>(
                                           steps, std::numeric_limits<uint32_t>::max())));
  std::vector<size_t> before;
  for (const Expression& expression : expressions_) {
    before.swap(ends);
    ends.clear();
    size_t begin = 0;
    for (const size_t end : before) {
      expression.Split(text, begin, end, data.get(), context.get(), ends);
      begin = end;
    }
  }
}

}  // namespace bantam::tokenizer
