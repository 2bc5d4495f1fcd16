#include "runtime/tokenizer/merge_rules.h"

#include <span>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"

namespace bantam::tokenizer {
namespace {

constexpr char kMerges[] = "tokenizer.ggml.merges";

}  // namespace

absl::StatusOr<MergeRules> MergeRules::FromGguf(const gguf::File& file, const Vocabulary& v) {
  if (file.Find(kMerges) == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(kMerges, " is missing, expected with this tokenizer.ggml.model"));
  }
  BANTAM_ASSIGN_OR_RETURN(const std::span<const absl::string_view> lines, file.GetStrings(kMerges));
  MergeRules merges;
  const auto symbol = [&](absl::string_view text) {
    if (const TokenId id = v.Find(text); id != kNoToken) return id;
    const auto next = static_cast<int32_t>(v.texts.size() + merges.only_in_merges_.size());
    return merges.only_in_merges_.try_emplace(text, next).first->second;
  };
  merges.rules_.reserve(lines.size());
  std::string both;
  for (size_t i = 0; i < lines.size(); ++i) {
    const absl::string_view line = lines[i];
    const size_t space = line.find(' ', 1);
    if (space == absl::string_view::npos || space + 1 == line.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat(kMerges, ": entry ", i, " is not two symbols with a space between"));
    }
    const absl::string_view left = line.substr(0, space);
    const absl::string_view right = line.substr(space + 1);
    both.assign(left.data(), left.size());
    both.append(right.data(), right.size());
    const int32_t left_symbol = symbol(left);
    const int32_t right_symbol = symbol(right);
    // Of a merge given twice the first counts.
    merges.rules_.try_emplace(Key(left_symbol, right_symbol),
                              MergeRule{static_cast<int32_t>(i), symbol(both)});
  }
  return merges;
}

int32_t MergeRules::Find(const Vocabulary& v, absl::string_view text) const {
  if (const TokenId id = v.Find(text); id != kNoToken) return id;
  const auto it = only_in_merges_.find(text);
  return it == only_in_merges_.end() ? -1 : it->second;
}

}  // namespace bantam::tokenizer
