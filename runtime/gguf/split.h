// Models split over several files. Internal to gguf/.
//
// Part i of n (counted from 1) is named <prefix>-<i>-of-<n>.gguf, both numbers with five digits.
// Every part is a GGUF file of its own with the keys split.no (counted from 0), split.count and
// split.tensors.count (of all parts together); the first also has the model's metadata.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/gguf/parser.h"

namespace bantam::gguf {

struct SplitKeys {
  int64_t number = 0;  // from 0
  int64_t count = 1;
  std::optional<int64_t> tensors;
};

// What a part says about itself; {0, 1} without split keys. Messages do not name the file.
absl::StatusOr<SplitKeys> ReadSplitKeys(const Part& part);

// The paths of all parts, derived from the path of one. Checks that the name agrees with the keys
// and that every file is there.
absl::StatusOr<std::vector<std::string>> FindParts(const std::string& path, const SplitKeys& keys);

}  // namespace bantam::gguf
