// The pre-tokenizers that tokenizer.ggml.pre names.
#pragma once

#include <span>

#include "absl/strings/string_view.h"

namespace bantam::tokenizer {

struct PreTokenizer {
  std::span<const absl::string_view> patterns;  // see Splitter
  // A word that is in the vocabulary is one token, even where no merges lead to it.
  bool ignore_merges = false;
  bool add_bos = false;  // unless the file says otherwise
};

// nullptr when there is none of this name. "" is a file that names none.
const PreTokenizer* FindPreTokenizer(absl::string_view name);

}  // namespace bantam::tokenizer
