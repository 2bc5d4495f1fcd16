// SentencePiece's table of replacements, tokenizer.ggml.precompiled_charsmap: what a text is
// rewritten by before it is cut to tokens (mostly NFKC).
//
// The bytes: u32 size of the trie; the trie, a double array of u32 units (Yata et al., "A compact
// static double-array keeping character codes", 2007); then the replacements, each ended by a 0.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/gguf/file.h"

namespace bantam::tokenizer {

class Charsmap {
 public:
  // An empty table when the file has none; kInvalidArgument when its sizes make no sense.
  static absl::StatusOr<Charsmap> FromGguf(const gguf::File& file);

  // The longest prefix of `text` that is in the table; `length` 0 when there is none. A damaged
  // table finds less, and reads nothing outside itself.
  struct Match {
    size_t length = 0;
    absl::string_view replacement;
  };
  Match LongestPrefix(absl::string_view text) const;

 private:
  std::vector<uint32_t> units_;
  std::string replacements_;  // ends with a 0
};

}  // namespace bantam::tokenizer
