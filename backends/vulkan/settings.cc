#include "backends/vulkan/settings.h"

#include <cstdlib>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace bantam::vulkan {

absl::StatusOr<Settings> SettingsFromEnvironment() {
  Settings settings;
  const char* text = std::getenv("BANTAM_VULKAN_TEST");
  if (text == nullptr) return settings;
  for (absl::string_view item : absl::StrSplit(text, ',', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(item, absl::MaxSplits('=', 1));
    const auto& [name, number] = parts;
    uint64_t value = 0;
    const bool is_number = absl::SimpleAtoi(number, &value);
    if (is_number && name == "binding") {
      settings.binding_limit = value;
    } else if (is_number && name == "allocation") {
      settings.allocation_limit = value;
    } else if (is_number && name == "staging") {
      settings.staging = value != 0;
    } else if (is_number && name == "transfer") {
      settings.transfer_queue = value != 0;
    } else if (is_number && name == "subgroups") {
      settings.subgroups = value != 0;
    } else if (is_number && name == "bytes") {
      settings.small_storage = value != 0;
    } else if (is_number && name == "address") {
      settings.device_address = value != 0;
    } else if (is_number && name == "gpu") {
      settings.like_gpu = value != 0;
    } else if (is_number && name == "budget") {
      settings.budget = value != 0;
    } else if (is_number && name == "barriers") {
      settings.barriers = value != 0;
    } else if (is_number && name == "tile") {
      settings.matmul_tile_only = value != 0;
    } else if (is_number && name == "dot") {
      settings.integer_dot = value != 0;
    } else if (is_number && name == "matrix") {
      settings.cooperative_matrix = value != 0;
    } else if (is_number && name == "f16") {
      settings.half_products = value != 0;
    } else if (is_number && name == "vulkan12") {
      settings.only_vulkan_12 = value != 0;
    } else if (is_number && name == "splits") {
      settings.kv_splits = static_cast<int>(value);
    } else {
      return absl::InvalidArgumentError(absl::StrCat(
          "BANTAM_VULKAN_TEST holds '", item,
          "'; expected name=number of binding, allocation, staging, transfer, "
          "subgroups, bytes, address, gpu, budget, barriers, tile, dot, matrix, f16, vulkan12, "
          "splits"));
    }
  }
  return settings;
}

Faults& TheFaults() {
  static auto* faults = new Faults;
  return *faults;
}

}  // namespace bantam::vulkan
