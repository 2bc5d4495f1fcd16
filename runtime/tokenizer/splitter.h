// Cutting text into the words that byte-level BPE encodes one by one.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace bantam::tokenizer {

// Regular expressions, applied one after the other: the first to the text, each further one to
// every piece the one before it left. A match becomes a piece, and so does what is between two
// matches. Immutable and thread-safe.
class Splitter {
 public:
  // PCRE2 syntax, except that \s and \S are Unicode's White_Space (PCRE2 counts U+180E in).
  static absl::StatusOr<Splitter> Make(std::span<const absl::string_view> patterns);

  Splitter(Splitter&&) noexcept;
  Splitter& operator=(Splitter&&) noexcept;
  ~Splitter();

  // The ends of the pieces of `text`, which must be UTF-8: increasing, the last is text.size().
  // Where matching fails for want of memory or time, what follows stays one piece.
  void Split(absl::string_view text, std::vector<size_t>& ends) const;

 private:
  class Expression;
  Splitter();
  std::vector<Expression> expressions_;
};

}  // namespace bantam::tokenizer
