#include "runtime/gguf/split.h"

#include <sys/stat.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "runtime/base/status.h"
#include "runtime/gguf/layout.h"

namespace bantam::gguf {
namespace {

constexpr int64_t kMaxParts = 99999;  // five digits

// An integer key in [min, max], or nothing when absent.
absl::StatusOr<std::optional<int64_t>> Int(const Part& part, absl::string_view key, int64_t min,
                                           int64_t max) {
  const MetaValue* value = part.Find(key);
  if (value == nullptr) return std::optional<int64_t>();
  // The parts of one model have been written with different integer types.
  const std::optional<int64_t> number = AsInt(*value);
  if (!number.has_value() || *number < min || *number > max) {
    return absl::InvalidArgumentError(absl::StrCat("key '", key, "' is ", DescribeValue(*value),
                                                   "; expected an integer from ", min, " to ",
                                                   max));
  }
  return number;
}

std::string PartSuffix(int64_t number, int64_t count) {
  return absl::StrFormat("-%05d-of-%05d.gguf", number + 1, count);
}

}  // namespace

absl::StatusOr<SplitKeys> ReadSplitKeys(const Part& part) {
  SplitKeys keys;
  BANTAM_ASSIGN_OR_RETURN(const auto count, Int(part, "split.count", 0, kMaxParts));
  if (count.value_or(0) <= 1) return keys;
  keys.count = *count;
  BANTAM_ASSIGN_OR_RETURN(const auto number, Int(part, "split.no", 0, keys.count - 1));
  if (!number.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat("key 'split.no' is missing, though split.count is ", keys.count));
  }
  keys.number = *number;
  BANTAM_ASSIGN_OR_RETURN(keys.tensors, Int(part, "split.tensors.count", 0, int64_t{1} << 32));
  return keys;
}

absl::StatusOr<std::vector<std::string>> FindParts(const std::string& path, const SplitKeys& keys) {
  absl::string_view prefix = path;
  const std::string suffix = PartSuffix(keys.number, keys.count);
  if (!absl::ConsumeSuffix(&prefix, suffix)) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s: is part %d of %d of a split model, but its name does not end in '%s'; all parts must "
        "have the names they were published with",
        path, keys.number + 1, keys.count, suffix));
  }
  std::vector<std::string> paths;
  std::vector<std::string> missing;
  for (int64_t i = 0; i < keys.count; ++i) {
    paths.push_back(absl::StrCat(prefix, PartSuffix(i, keys.count)));
    struct stat info;
    if (stat(paths.back().c_str(), &info) != 0) missing.push_back(paths.back());
  }
  if (!missing.empty()) {
    return absl::NotFoundError(absl::StrFormat(
        "%s: %d of the %d parts of this split model %s missing, %s'%s'; put all parts into one "
        "folder",
        path, missing.size(), keys.count, missing.size() == 1 ? "is" : "are",
        missing.size() == 1 ? "" : "the first is ", missing[0]));
  }
  return paths;
}

}  // namespace bantam::gguf
