// What a GPU says of itself, and what of it is used.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "backends/vulkan/cooperative_matrix.h"
#include "backends/vulkan/settings.h"

namespace bantam::vulkan {

class Instance;

// As the driver says it; nothing points anywhere. What belongs to an extension is zeros without it.
struct Reported {
  VkPhysicalDeviceProperties base = {};
  VkPhysicalDeviceVulkan11Properties properties11 = {};
  VkPhysicalDeviceVulkan12Properties properties12 = {};
  VkPhysicalDeviceVulkan11Features features11 = {};
  VkPhysicalDeviceVulkan12Features features12 = {};
  // Of Vulkan 1.3, or of extensions before.
  VkPhysicalDeviceSubgroupSizeControlProperties subgroup_size_properties = {};
  VkPhysicalDeviceSubgroupSizeControlFeatures subgroup_size_features = {};
  VkPhysicalDeviceShaderIntegerDotProductProperties dot_properties = {};
  VkPhysicalDeviceShaderIntegerDotProductFeatures dot_features = {};
  VkPhysicalDeviceMaintenance4Properties maintenance4 = {};
  bool cooperative_matrix = false;
  VkShaderStageFlags matrix_stages = 0;
  std::vector<VkCooperativeMatrixPropertiesKHR> matrices;

  std::vector<std::string> extensions;
  std::vector<VkQueueFamilyProperties> queues;
  VkPhysicalDeviceMemoryProperties memory = {};

  bool Has(absl::string_view extension) const;
  // Whether something that is an extension and came with Vulkan 1.3 may be used.
  bool HasSince13(absl::string_view extension) const {
    return base.apiVersion >= VK_API_VERSION_1_3 || Has(extension);
  }
};
Reported Ask(const Instance& instance, VkPhysicalDevice gpu, const Settings& settings);

// The sizes of the matrices that the invocations of a subgroup multiply together; 0: they do not.
struct MatrixSize {
  uint32_t m = 0, n = 0, k = 0;
  bool operator==(const MatrixSize&) const = default;
};

struct Traits {
  std::string name;    // "AMD Radeon ..."
  std::string driver;  // "radv Mesa 22.3.6"
  std::string hardware_id;
  VkPhysicalDeviceType type = VK_PHYSICAL_DEVICE_TYPE_OTHER;
  bool is_processor = false;  // kernels are shaped for vector registers and few cores
  uint32_t queue_family = 0;
  uint32_t transfer_family = UINT32_MAX;  // of a queue for uploads; UINT32_MAX: the other's are
  uint32_t subgroup_size = 0;             // 0: subgroup operations are not used
  uint32_t shared_memory = 16384;         // bytes for a workgroup
  uint32_t max_invocations = 128;         // in a workgroup
  bool integer_dot = false;               // int8 dot products
  MatrixSize matrix;                      // f16 times f16, in f32
  bool half_products = false;             // the same without matrices
  bool small_storage = false;             // 8-bit and 16-bit storage
  bool device_address = false;            // of buffers, for weights larger than a binding
  bool memory_budget = false;
  std::vector<const char*> extensions;  // to be enabled
  std::vector<std::string> lines;       // for people: each optional ability, and whether it is used
  uint64_t binding_limit = 0;           // bytes
  uint64_t allocation_limit = 0;
  uint64_t offset_alignment = 16;  // of a binding
  // Memory types; UINT32_MAX where there is none.
  uint32_t device_memory = UINT32_MAX;   // where buffers live
  uint32_t mapped_memory = UINT32_MAX;   // small buffers the host writes to, on the device
  uint32_t staging_memory = UINT32_MAX;  // of the host
  bool host_reads = false;               // device_memory is mapped and cached: no staging at all
  bool host_writes = false;              // device_memory is mapped
  uint64_t heap_bytes = 0;               // of the heap of device_memory
  uint32_t heap = 0;
  uint32_t mapped_heap = 0;  // of mapped_memory
};
// `matrix_shader`: the shader for cooperative matrices was built. kFailedPrecondition when the
// shaders cannot run.
absl::StatusOr<Traits> Choose(const Reported& reported, const Settings& settings,
                              bool matrix_shader);
absl::StatusOr<Traits> QueryTraits(const Instance& instance, VkPhysicalDevice gpu,
                                   const Settings& settings);

// Of the heap of device_memory, bytes not in use by anyone, as the driver's budget says; without
// that, `allocated` are ours.
uint64_t FreeBytes(const Instance& instance, VkPhysicalDevice gpu, const Traits& traits,
                   uint64_t allocated);
// What the driver's budget leaves us of a heap. Only with memory_budget.
struct Budget {
  uint64_t bytes = 0, used = 0;
  uint64_t left() const { return bytes > used ? bytes - used : 0; }
};
Budget BudgetOf(const Instance& instance, VkPhysicalDevice gpu, uint32_t heap);

}  // namespace bantam::vulkan
