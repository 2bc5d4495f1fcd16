#include "backends/cuda/settings.h"

#include <cstdlib>

#include "absl/strings/str_cat.h"

namespace bantam::cuda {

absl::StatusOr<Settings> SettingsFromEnvironment() {
  Settings settings;
  const char* library = std::getenv("BANTAM_CUDA_CUBLAS");
  if (library != nullptr) settings.cublas = library;
  const char* text = std::getenv("BANTAM_CUDA_PLANES");
  if (text == nullptr || absl::string_view(text) == "2") return settings;
  if (absl::string_view(text) != "1") {
    return absl::InvalidArgumentError(
        absl::StrCat("BANTAM_CUDA_PLANES is '", text, "'; expected 1 or 2"));
  }
  settings.planes = 1;
  return settings;
}

}  // namespace bantam::cuda
