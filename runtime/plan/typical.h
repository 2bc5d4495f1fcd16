// Models that are typical for a size: to plan for one that nobody has downloaded yet.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/gguf/file.h"

namespace bantam::plan {

struct ModelSize {
  double weights = 0;
  double active = 0;  // of these for one token, of a mixture of experts; 0: all
  friend bool operator==(const ModelSize&, const ModelSize&) = default;
};

// "7B", "0.5b", "135M", "30B-A3B" (3B of them active); nothing for other text.
std::optional<ModelSize> ParseSize(absl::string_view text);

// A description without data. Not to be moved: the file points into it.
struct TypicalModel {
  std::string name;   // "7B weights, as Llama 3.1 8B with 28 layers"
  std::string shape;  // "Llama 3.1 8B"
  std::vector<std::string> names;
  std::unique_ptr<gguf::File> file;  // all matrices F16
};

// A well-known model near that size, with fewer or more layers. kInvalidArgument for a size that no
// model has.
absl::StatusOr<std::unique_ptr<TypicalModel>> Typical(const ModelSize& size);

}  // namespace bantam::plan
