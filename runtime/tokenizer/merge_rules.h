// tokenizer.ggml.merges: which symbols join, and which pair goes first.
#pragma once

#include <cstdint>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/gguf/file.h"
#include "runtime/tokenizer/merge.h"
#include "runtime/tokenizer/vocabulary.h"

namespace bantam::tokenizer {

// A symbol is a token or, from the vocabulary's size on, a text that only occurs in merges.
class MergeRules {
 public:
  // `v` is only used in the call. kInvalidArgument names the entry that is no pair.
  static absl::StatusOr<MergeRules> FromGguf(const gguf::File& file, const Vocabulary& v);

  // The symbol of a text, -1 if there is none.
  int32_t Find(const Vocabulary& v, absl::string_view text) const;
  // No rule for a symbol that is none.
  MergeRule Rule(int32_t left, int32_t right) const {
    const auto it = rules_.find(Key(left, right));
    return it == rules_.end() ? MergeRule{} : it->second;
  }

 private:
  static constexpr uint64_t Key(int32_t left, int32_t right) {
    return static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
  }

  absl::flat_hash_map<std::string, int32_t> only_in_merges_;
  absl::flat_hash_map<uint64_t, MergeRule> rules_;
};

}  // namespace bantam::tokenizer
