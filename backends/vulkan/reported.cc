// Asking a driver what its GPU has.

#include <algorithm>
#include <vector>

#include "backends/vulkan/instance.h"
#include "backends/vulkan/traits.h"

namespace bantam::vulkan {

bool Reported::Has(absl::string_view extension) const {
  return std::find(extensions.begin(), extensions.end(), extension) != extensions.end();
}

Reported Ask(const Instance& instance, VkPhysicalDevice of, const Settings& settings) {
  const Dispatcher& vk = instance.vk();
  const vk::PhysicalDevice gpu = of;
  Reported reported;
  reported.base = gpu.getProperties(vk);
  if (settings.only_vulkan_12) {
    reported.base.apiVersion = std::min(reported.base.apiVersion, VK_MAKE_API_VERSION(0, 1, 2, 0));
  }
  for (const auto& extension : gpu.enumerateDeviceExtensionProperties(nullptr, vk).value) {
    reported.extensions.emplace_back(extension.extensionName.data());
  }

  vk::StructureChain<
      vk::PhysicalDeviceProperties2, vk::PhysicalDeviceVulkan11Properties,
      vk::PhysicalDeviceVulkan12Properties, vk::PhysicalDeviceSubgroupSizeControlProperties,
      vk::PhysicalDeviceShaderIntegerDotProductProperties, vk::PhysicalDeviceMaintenance4Properties>
      properties;
  vk::StructureChain<vk::PhysicalDeviceFeatures2, vk::PhysicalDeviceVulkan11Features,
                     vk::PhysicalDeviceVulkan12Features,
                     vk::PhysicalDeviceSubgroupSizeControlFeatures,
                     vk::PhysicalDeviceShaderIntegerDotProductFeatures>
      features;
  // What is taken out of the chain stays zeros.
  if (!reported.HasSince13(VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME)) {
    properties.unlink<vk::PhysicalDeviceSubgroupSizeControlProperties>();
    features.unlink<vk::PhysicalDeviceSubgroupSizeControlFeatures>();
  }
  if (!reported.HasSince13(VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME)) {
    properties.unlink<vk::PhysicalDeviceShaderIntegerDotProductProperties>();
    features.unlink<vk::PhysicalDeviceShaderIntegerDotProductFeatures>();
  }
  if (!reported.HasSince13(VK_KHR_MAINTENANCE_4_EXTENSION_NAME)) {
    properties.unlink<vk::PhysicalDeviceMaintenance4Properties>();
  }
  // Older headers do not know these, nor that they belong in the chain.
  VkPhysicalDeviceCooperativeMatrixPropertiesKHR matrix_properties{
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_PROPERTIES_KHR};
  VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix_features{
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR};
  const auto list_matrices =
      reinterpret_cast<PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR>(
          vk.vkGetInstanceProcAddr(instance.handle(),
                                   "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR"));
  const bool has_matrices =
      reported.Has(VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME) && list_matrices != nullptr;
  auto& first_properties = properties.get<vk::PhysicalDeviceProperties2>();
  auto& first_features = features.get<vk::PhysicalDeviceFeatures2>();
  if (has_matrices) {
    matrix_properties.pNext = std::exchange(first_properties.pNext, &matrix_properties);
    matrix_features.pNext = std::exchange(first_features.pNext, &matrix_features);
  }
  gpu.getProperties2(&first_properties, vk);
  gpu.getFeatures2(&first_features, vk);
  const auto copy = [](const auto& from, auto& to) {
    to = from;
    to.pNext = nullptr;
  };
  copy(properties.get<vk::PhysicalDeviceVulkan11Properties>(), reported.properties11);
  copy(properties.get<vk::PhysicalDeviceVulkan12Properties>(), reported.properties12);
  copy(properties.get<vk::PhysicalDeviceSubgroupSizeControlProperties>(),
       reported.subgroup_size_properties);
  copy(properties.get<vk::PhysicalDeviceShaderIntegerDotProductProperties>(),
       reported.dot_properties);
  copy(properties.get<vk::PhysicalDeviceMaintenance4Properties>(), reported.maintenance4);
  copy(features.get<vk::PhysicalDeviceVulkan11Features>(), reported.features11);
  copy(features.get<vk::PhysicalDeviceVulkan12Features>(), reported.features12);
  copy(features.get<vk::PhysicalDeviceSubgroupSizeControlFeatures>(),
       reported.subgroup_size_features);
  copy(features.get<vk::PhysicalDeviceShaderIntegerDotProductFeatures>(), reported.dot_features);
  if (has_matrices) {
    reported.cooperative_matrix = matrix_features.cooperativeMatrix;
    reported.matrix_stages = matrix_properties.cooperativeMatrixSupportedStages;
    uint32_t count = 0;
    list_matrices(gpu, &count, nullptr);
    VkCooperativeMatrixPropertiesKHR empty = {};
    empty.sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR;
    reported.matrices.assign(count, empty);
    list_matrices(gpu, &count, reported.matrices.data());
    reported.matrices.resize(std::min<size_t>(count, reported.matrices.size()));
  }

  const auto queues = gpu.getQueueFamilyProperties(vk);
  reported.queues.assign(queues.begin(), queues.end());
  reported.memory = gpu.getMemoryProperties2(vk).memoryProperties;
  return reported;
}

Budget BudgetOf(const Instance& instance, VkPhysicalDevice gpu, uint32_t heap) {
  const auto memory =
      vk::PhysicalDevice(gpu)
          .getMemoryProperties2<vk::PhysicalDeviceMemoryProperties2,
                                vk::PhysicalDeviceMemoryBudgetPropertiesEXT>(instance.vk());
  const auto& heaps = memory.get<vk::PhysicalDeviceMemoryProperties2>().memoryProperties;
  const auto& budget = memory.get<vk::PhysicalDeviceMemoryBudgetPropertiesEXT>();
  return {std::min(budget.heapBudget[heap], heaps.memoryHeaps[heap].size), budget.heapUsage[heap]};
}

uint64_t FreeBytes(const Instance& instance, VkPhysicalDevice gpu, const Traits& traits,
                   uint64_t allocated) {
  if (traits.memory_budget) return BudgetOf(instance, gpu, traits.heap).left();
  return traits.heap_bytes > allocated ? traits.heap_bytes - allocated : 0;
}

}  // namespace bantam::vulkan
