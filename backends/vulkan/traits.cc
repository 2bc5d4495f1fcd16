// What a GPU has.

#include <algorithm>
#include <cstring>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "backends/vulkan/gpu.h"
#include "runtime/base/byte_size.h"
#include "runtime/base/status.h"

namespace bantam::vulkan {
namespace {

bool HasExtension(const Instance& instance, VkPhysicalDevice gpu, absl::string_view name) {
  uint32_t count = 0;
  instance.vk().EnumerateDeviceExtensionProperties(gpu, nullptr, &count, nullptr);
  std::vector<VkExtensionProperties> extensions(count);
  instance.vk().EnumerateDeviceExtensionProperties(gpu, nullptr, &count, extensions.data());
  return std::any_of(extensions.begin(), extensions.end(),
                     [&](const VkExtensionProperties& e) { return name == e.extensionName; });
}

absl::Status ChooseMemory(const VkPhysicalDeviceMemoryProperties& memory, const Settings& settings,
                          Traits& traits) {
  auto find = [&](VkMemoryPropertyFlags flags, VkMemoryPropertyFlags without = 0) {
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < memory.memoryTypeCount; ++i) {
      const VkMemoryType& type = memory.memoryTypes[i];
      if ((type.propertyFlags & flags) != flags || (type.propertyFlags & without) != 0) continue;
      auto bytes = [&](uint32_t t) {
        return memory.memoryHeaps[memory.memoryTypes[t].heapIndex].size;
      };
      if (best == UINT32_MAX || bytes(i) > bytes(best)) best = i;
    }
    return best;
  };
  constexpr VkMemoryPropertyFlags kLocal = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
  constexpr VkMemoryPropertyFlags kMapped =
      VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
  constexpr VkMemoryPropertyFlags kCached = VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
  // AMD's uncached types are for debugging.
  constexpr VkMemoryPropertyFlags kOdd = VK_MEMORY_PROPERTY_PROTECTED_BIT |
                                         VK_MEMORY_PROPERTY_LAZILY_ALLOCATED_BIT |
                                         VK_MEMORY_PROPERTY_DEVICE_COHERENT_BIT_AMD;
  traits.staging_memory = find(kMapped | kCached, kOdd);
  if (traits.staging_memory == UINT32_MAX) traits.staging_memory = find(kMapped, kOdd);
  traits.mapped_memory = find(kLocal | kMapped, kOdd);
  const bool discrete = traits.type == VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU;
  uint32_t device = UINT32_MAX;
  if (!discrete && !settings.staging) {
    // The host's memory is the GPU's: weights are written where they are used.
    device = find(kLocal | kMapped | kCached, kOdd);
    if (device == UINT32_MAX) device = traits.mapped_memory;
  }
  if (device == UINT32_MAX) device = find(kLocal, kOdd);
  traits.device_memory = device;
  if (device == UINT32_MAX || traits.staging_memory == UINT32_MAX) {
    return absl::FailedPreconditionError(
        absl::StrCat(traits.name, ": no memory type for buffers and staging"));
  }
  const VkMemoryPropertyFlags flags = memory.memoryTypes[device].propertyFlags;
  traits.host_writes = !discrete && !settings.staging && (flags & kMapped) == kMapped;
  traits.host_reads = traits.host_writes && (flags & kCached) != 0;
  if (settings.staging) traits.mapped_memory = UINT32_MAX;
  traits.heap = memory.memoryTypes[device].heapIndex;
  traits.heap_bytes = memory.memoryHeaps[traits.heap].size;
  return absl::OkStatus();
}

absl::Status ChooseQueues(const Instance& instance, VkPhysicalDevice gpu, const Settings& settings,
                          Traits& traits) {
  uint32_t count = 0;
  instance.vk().GetPhysicalDeviceQueueFamilyProperties(gpu, &count, nullptr);
  std::vector<VkQueueFamilyProperties> families(count);
  instance.vk().GetPhysicalDeviceQueueFamilyProperties(gpu, &count, families.data());
  bool found = false;
  for (uint32_t i = 0; i < count; ++i) {
    constexpr VkQueueFlags kComputes = VK_QUEUE_COMPUTE_BIT | VK_QUEUE_GRAPHICS_BIT;
    if (!found && (families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) != 0) {
      traits.queue_family = i;
      found = true;
    }
    // One that does nothing else is an engine of its own, which copies while shaders run.
    if ((families[i].queueFlags & VK_QUEUE_TRANSFER_BIT) != 0 &&
        (families[i].queueFlags & kComputes) == 0 && traits.transfer_family == UINT32_MAX) {
      traits.transfer_family = i;
    }
  }
  if (!found) {
    return absl::FailedPreconditionError(absl::StrCat(traits.name, ": no compute queue"));
  }
  if (settings.transfer_queue == false) traits.transfer_family = UINT32_MAX;
  if (settings.transfer_queue == true && traits.transfer_family == UINT32_MAX) {
    traits.transfer_family = traits.queue_family;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Traits> QueryTraits(const Instance& instance, VkPhysicalDevice gpu,
                                   const Settings& settings) {
  const InstanceFunctions& vk = instance.vk();
  VkPhysicalDeviceProperties base;
  vk.GetPhysicalDeviceProperties(gpu, &base);
  const bool is_13 = base.apiVersion >= VK_API_VERSION_1_3;
  VkPhysicalDeviceVulkan13Properties properties13{
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_PROPERTIES};
  VkPhysicalDeviceVulkan12Properties properties12{
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES, is_13 ? &properties13 : nullptr};
  VkPhysicalDeviceVulkan11Properties properties11{
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES, &properties12};
  VkPhysicalDeviceProperties2 properties{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                         &properties11};
  vk.GetPhysicalDeviceProperties2(gpu, &properties);
  VkPhysicalDeviceVulkan13Features features13{
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES};
  VkPhysicalDeviceFeatures2 features{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                     is_13 ? &features13 : nullptr};
  vk.GetPhysicalDeviceFeatures2(gpu, &features);

  const VkPhysicalDeviceLimits& limits = base.limits;
  Traits traits;
  traits.name = base.deviceName;
  traits.driver = absl::StrCat(properties12.driverName, " ", properties12.driverInfo, ", Vulkan ",
                               VK_API_VERSION_MAJOR(base.apiVersion), ".",
                               VK_API_VERSION_MINOR(base.apiVersion), ".",
                               VK_API_VERSION_PATCH(base.apiVersion));
  traits.hardware_id = absl::BytesToHexString(absl::string_view(
      reinterpret_cast<const char*>(properties11.deviceUUID), sizeof(properties11.deviceUUID)));
  traits.type = base.deviceType;
  traits.is_processor = traits.type == VK_PHYSICAL_DEVICE_TYPE_CPU && !settings.like_gpu;
  traits.shared_memory = limits.maxComputeSharedMemorySize;
  traits.max_invocations =
      std::min(limits.maxComputeWorkGroupInvocations, limits.maxComputeWorkGroupSize[0]);
  // Offsets in shaders are 32-bit numbers of bytes.
  constexpr uint64_t kAddressable = uint64_t{1} << 31;
  traits.binding_limit =
      std::min<uint64_t>({limits.maxStorageBufferRange, kAddressable, settings.binding_limit});
  traits.allocation_limit =
      std::min<uint64_t>(properties11.maxMemoryAllocationSize, settings.allocation_limit);
  if (is_13)
    traits.allocation_limit = std::min(traits.allocation_limit, properties13.maxBufferSize);
  traits.offset_alignment = std::max<uint64_t>(limits.minStorageBufferOffsetAlignment, 16);

  constexpr VkSubgroupFeatureFlags kNeeded =
      VK_SUBGROUP_FEATURE_BASIC_BIT | VK_SUBGROUP_FEATURE_ARITHMETIC_BIT;
  const bool arithmetic = (properties11.subgroupSupportedOperations & kNeeded) == kNeeded &&
                          (properties11.subgroupSupportedStages & VK_SHADER_STAGE_COMPUTE_BIT) != 0;
  const bool controlled =
      is_13 && features13.subgroupSizeControl && features13.computeFullSubgroups &&
      (properties13.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT) != 0;
  if (settings.subgroups && arithmetic && controlled) {
    traits.subgroup_size =
        std::clamp<uint32_t>(32, properties13.minSubgroupSize, properties13.maxSubgroupSize);
  }
  traits.integer_dot =
      is_13 && features13.shaderIntegerDotProduct &&
      settings.integer_dot.value_or(properties13.integerDotProduct4x8BitPackedSignedAccelerated);
  VkPhysicalDeviceVulkan12Features features12{
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
  VkPhysicalDeviceVulkan11Features features11{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES,
                                              &features12};
  VkPhysicalDeviceFeatures2 more{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, &features11};
  vk.GetPhysicalDeviceFeatures2(gpu, &more);
  traits.small_storage = features11.storageBuffer16BitAccess &&
                         features12.storageBuffer8BitAccess && settings.small_storage;
  auto unused = [&](absl::string_view what, bool there, absl::string_view why) {
    traits.unused.push_back(there ? absl::StrCat(what, ": there and not used; ", why)
                                  : absl::StrCat(what, ": not there"));
  };
  unused("f16 arithmetic", features12.shaderFloat16, "sums are in f32");
  unused("int8 arithmetic", features12.shaderInt8, "four bytes are a word to shaders");
  unused("buffer device address", features12.bufferDeviceAddress,
         "what does not fit a binding is cut");
  unused("cooperative matrix", HasExtension(instance, gpu, "VK_KHR_cooperative_matrix"),
         "no shader for it yet");
  if (!traits.integer_dot) {
    unused("integer dot product", features13.shaderIntegerDotProduct, "it is no faster here");
  }
  traits.memory_budget =
      settings.budget && HasExtension(instance, gpu, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);

  BANTAM_RETURN_IF_ERROR(ChooseQueues(instance, gpu, settings, traits));
  VkPhysicalDeviceMemoryProperties2 memory{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2};
  vk.GetPhysicalDeviceMemoryProperties2(gpu, &memory);
  BANTAM_RETURN_IF_ERROR(ChooseMemory(memory.memoryProperties, settings, traits));
  if (traits.host_writes) traits.transfer_family = UINT32_MAX;  // nothing is uploaded
  return traits;
}

std::vector<std::string> Features(const Traits& traits) {
  std::vector<std::string> lines;
  lines.push_back(traits.subgroup_size != 0
                      ? absl::StrCat("subgroup operations of ", traits.subgroup_size,
                                     " invocations, size controlled: used")
                      : "subgroup operations: not used; sums go through shared memory");
  if (traits.integer_dot) {
    lines.emplace_back("integer dot product: used for products of many columns");
  }
  lines.push_back(traits.small_storage
                      ? "8-bit and 16-bit storage: used for weights and the KV cache"
                      : "8-bit and 16-bit storage: not used; words are taken apart");
  lines.push_back("timeline semaphores: used");
  lines.push_back(traits.memory_budget
                      ? "memory budget: used"
                      : "memory budget: not there; free memory is what Bantam has not taken");
  lines.push_back(traits.host_reads ? "memory: the host's, weights are written where they are used"
                  : traits.host_writes ? "memory: written by the host, read back through staging"
                  : traits.mapped_memory != UINT32_MAX
                      ? "memory: the GPU's, through staging; small buffers are written directly"
                      : "memory: the GPU's, through staging");
  if (!traits.host_writes) {
    lines.push_back(traits.transfer_family == UINT32_MAX
                        ? "transfer queue: not there; uploads take turns with shaders"
                        : "transfer queue: used for uploads");
  }
  lines.push_back(absl::StrCat("limits: ", FormatByteSize(traits.binding_limit), " in a binding, ",
                               FormatByteSize(traits.allocation_limit), " in an allocation, ",
                               FormatByteSize(traits.shared_memory), " shared by a workgroup"));
  lines.insert(lines.end(), traits.unused.begin(), traits.unused.end());
  return lines;
}

uint64_t FreeBytes(const Instance& instance, VkPhysicalDevice gpu, const Traits& traits,
                   uint64_t allocated) {
  if (traits.memory_budget) {
    VkPhysicalDeviceMemoryBudgetPropertiesEXT budget{
        VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
    VkPhysicalDeviceMemoryProperties2 memory{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2,
                                             &budget};
    instance.vk().GetPhysicalDeviceMemoryProperties2(gpu, &memory);
    const uint64_t usable = std::min(budget.heapBudget[traits.heap], traits.heap_bytes);
    const uint64_t used = budget.heapUsage[traits.heap];
    return usable > used ? usable - used : 0;
  }
  return traits.heap_bytes > allocated ? traits.heap_bytes - allocated : 0;
}

}  // namespace bantam::vulkan
