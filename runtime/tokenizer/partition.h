// Cutting text at special tokens.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/tokenizer/vocabulary.h"

namespace bantam::tokenizer {

// Either text to encode or a token.
struct Fragment {
  absl::string_view text;
  TokenId token = kNoToken;
};

// Finds user-defined tokens always, control and unknown tokens on request. Longer tokens are cut
// out of the whole text before shorter ones; of equally long ones the leftmost is first.
class SpecialPartition {
 public:
  SpecialPartition() = default;
  // `strip_after`: white space after a special token belongs to the token, as Phi-3 was trained.
  SpecialPartition(const Vocabulary& vocabulary, bool strip_after);

  std::vector<Fragment> Split(absl::string_view text, bool parse_special) const;

 private:
  struct Special {
    TokenId id;
    bool only_on_request;
    bool strip_after;
  };
  absl::flat_hash_map<absl::string_view, Special> specials_;
  std::vector<size_t> lengths_;  // of the specials, each once, longest first
  // First bytes of specials, to skip most of a text quickly; pairs_ has all pairs (b, *) for a
  // special of one byte b.
  std::bitset<256> first_;
  std::bitset<65536> pairs_;
};

}  // namespace bantam::tokenizer
