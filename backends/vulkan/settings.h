// What tests may change about the backend, and failures they may inject.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"

namespace bantam::vulkan {

// Smaller limits and fewer features than the driver's, so that one driver tests every path.
struct Settings {
  uint64_t binding_limit = UINT64_MAX;     // bytes in one storage-buffer binding
  uint64_t allocation_limit = UINT64_MAX;  // bytes in one allocation
  bool staging = false;                    // as if the host could not address device memory
  std::optional<bool> transfer_queue;      // uploads apart from shaders, on their queue if need be
  bool subgroups = true;
  bool small_storage = true;
  bool device_address = true;
  bool like_gpu = false;  // shapes of kernels as for a GPU, on a processor too
  bool budget = true;
  bool barriers = true;             // without, the validation layer must object
  bool matmul_tile_only = false;    // the tiled product for any number of columns
  std::optional<bool> integer_dot;  // int8 dot products, fast on this GPU or not; unset: if fast
  std::optional<bool> cooperative_matrix;  // the same for f16 matrices
  std::optional<bool> half_products;       // and for products of f16
  bool only_vulkan_12 = false;  // as if the driver had no later version; its extensions stay
  int kv_splits = 0;            // parts of the cache in attention; 0: chosen
  bool operator==(const Settings&) const = default;
};

// $BANTAM_VULKAN_TEST as `name=number` separated by commas: binding, allocation, staging,
// transfer, subgroups, bytes, address, gpu, budget, barriers, tile, dot, matrix, f16, vulkan12,
// splits. kInvalidArgument for anything else.
absl::StatusOr<Settings> SettingsFromEnvironment();

// Counted down at every allocation and submission; the one that finds 1 fails, 0 never does.
// Shared by all devices of the process.
struct Faults {
  std::atomic<int> allocation_in{0};  // out of device memory
  std::atomic<int> submit_in{0};      // device lost
};
Faults& TheFaults();

}  // namespace bantam::vulkan
