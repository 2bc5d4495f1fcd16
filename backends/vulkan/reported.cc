// Asking a driver what its GPU has.

#include <algorithm>
#include <vector>

#include "backends/vulkan/traits.h"

namespace bantam::vulkan {
namespace {

// A chain of structures to be filled in.
class Chain {
 public:
  explicit Chain(void** next) : next_(next) {}
  template <typename Structure>
  void Add(Structure& structure, VkStructureType type) {
    structure.sType = type;
    *next_ = &structure;
    next_ = &structure.pNext;
  }
  void End() { *next_ = nullptr; }

 private:
  void** next_;
};

}  // namespace

bool Reported::Has(absl::string_view extension) const {
  return std::find(extensions.begin(), extensions.end(), extension) != extensions.end();
}

Reported Ask(const Instance& instance, VkPhysicalDevice gpu, const Settings& settings) {
  const InstanceFunctions& vk = instance.vk();
  Reported reported;
  vk.GetPhysicalDeviceProperties(gpu, &reported.base);
  if (settings.only_vulkan_12) {
    reported.base.apiVersion = std::min(reported.base.apiVersion, VK_MAKE_API_VERSION(0, 1, 2, 0));
  }
  uint32_t count = 0;
  vk.EnumerateDeviceExtensionProperties(gpu, nullptr, &count, nullptr);
  std::vector<VkExtensionProperties> extensions(count);
  vk.EnumerateDeviceExtensionProperties(gpu, nullptr, &count, extensions.data());
  for (uint32_t i = 0; i < std::min<size_t>(count, extensions.size()); ++i) {
    reported.extensions.emplace_back(extensions[i].extensionName);
  }

  VkPhysicalDeviceProperties2 properties{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
  VkPhysicalDeviceFeatures2 features{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2};
  Chain of_properties(&properties.pNext), of_features(&features.pNext);
  of_properties.Add(reported.properties11, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES);
  of_properties.Add(reported.properties12, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES);
  of_features.Add(reported.features11, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES);
  of_features.Add(reported.features12, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES);
  if (reported.HasSince13(VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME)) {
    of_properties.Add(reported.subgroup_size_properties,
                      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES);
    of_features.Add(reported.subgroup_size_features,
                    VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES);
  }
  if (reported.HasSince13(VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME)) {
    of_properties.Add(reported.dot_properties,
                      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_PROPERTIES);
    of_features.Add(reported.dot_features,
                    VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES);
  }
  if (reported.HasSince13(VK_KHR_MAINTENANCE_4_EXTENSION_NAME)) {
    of_properties.Add(reported.maintenance4,
                      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_PROPERTIES);
  }
  VkPhysicalDeviceCooperativeMatrixPropertiesKHR matrix_properties = {};
  VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix_features = {};
  const bool has_matrices = reported.Has(VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME) &&
                            vk.GetPhysicalDeviceCooperativeMatrixPropertiesKHR != nullptr;
  if (has_matrices) {
    of_properties.Add(matrix_properties,
                      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_PROPERTIES_KHR);
    of_features.Add(matrix_features,
                    VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR);
  }
  of_properties.End();
  of_features.End();
  vk.GetPhysicalDeviceProperties2(gpu, &properties);
  vk.GetPhysicalDeviceFeatures2(gpu, &features);
  if (has_matrices) {
    reported.cooperative_matrix = matrix_features.cooperativeMatrix;
    reported.matrix_stages = matrix_properties.cooperativeMatrixSupportedStages;
    count = 0;
    vk.GetPhysicalDeviceCooperativeMatrixPropertiesKHR(gpu, &count, nullptr);
    VkCooperativeMatrixPropertiesKHR empty = {};
    empty.sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR;
    reported.matrices.assign(count, empty);
    vk.GetPhysicalDeviceCooperativeMatrixPropertiesKHR(gpu, &count, reported.matrices.data());
    reported.matrices.resize(std::min<size_t>(count, reported.matrices.size()));
  }

  count = 0;
  vk.GetPhysicalDeviceQueueFamilyProperties(gpu, &count, nullptr);
  reported.queues.resize(count);
  vk.GetPhysicalDeviceQueueFamilyProperties(gpu, &count, reported.queues.data());
  VkPhysicalDeviceMemoryProperties2 memory{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2};
  vk.GetPhysicalDeviceMemoryProperties2(gpu, &memory);
  reported.memory = memory.memoryProperties;
  // What the chain pointed to may move.
  for (void** next :
       {&reported.properties11.pNext, &reported.properties12.pNext, &reported.features11.pNext,
        &reported.features12.pNext, &reported.subgroup_size_properties.pNext,
        &reported.subgroup_size_features.pNext, &reported.dot_properties.pNext,
        &reported.dot_features.pNext, &reported.maintenance4.pNext}) {
    *next = nullptr;
  }
  return reported;
}

Budget BudgetOf(const Instance& instance, VkPhysicalDevice gpu, uint32_t heap) {
  VkPhysicalDeviceMemoryBudgetPropertiesEXT budget{
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
  VkPhysicalDeviceMemoryProperties2 memory{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2,
                                           &budget};
  instance.vk().GetPhysicalDeviceMemoryProperties2(gpu, &memory);
  return {std::min(budget.heapBudget[heap], memory.memoryProperties.memoryHeaps[heap].size),
          budget.heapUsage[heap]};
}

uint64_t FreeBytes(const Instance& instance, VkPhysicalDevice gpu, const Traits& traits,
                   uint64_t allocated) {
  if (traits.memory_budget) return BudgetOf(instance, gpu, traits.heap).left();
  return traits.heap_bytes > allocated ? traits.heap_bytes - allocated : 0;
}

}  // namespace bantam::vulkan
