// What of a GPU is used.

#include "backends/vulkan/traits.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "backends/vulkan/shader_code.h"
#include "runtime/base/byte_size.h"
#include "runtime/base/status.h"

namespace bantam::vulkan {
namespace {

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
  if (traits.mapped_memory != UINT32_MAX) {
    traits.mapped_heap = memory.memoryTypes[traits.mapped_memory].heapIndex;
  }
  traits.heap = memory.memoryTypes[device].heapIndex;
  traits.heap_bytes = memory.memoryHeaps[traits.heap].size;
  return absl::OkStatus();
}

absl::Status ChooseQueues(const std::vector<VkQueueFamilyProperties>& families,
                          const Settings& settings, Traits& traits) {
  bool found = false;
  for (uint32_t i = 0; i < families.size(); ++i) {
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

// Nothing when cooperative matrices are used; else why not.
std::string ChooseMatrix(const Reported& reported, const Settings& settings, bool matrix_shader,
                         Traits& traits) {
  if (!reported.cooperative_matrix) return "not there";
  const auto unused = [](absl::string_view why) {
    return absl::StrCat("there and not used; ", why);
  };
  if (!matrix_shader) {
    return unused("the compiler that built the shaders does not know it");
  }
  if (!reported.features12.shaderFloat16 || !reported.features12.vulkanMemoryModel ||
      !reported.features12.vulkanMemoryModelDeviceScope ||
      (reported.matrix_stages & VK_SHADER_STAGE_COMPUTE_BIT) == 0) {
    return unused("it lacks f16 arithmetic, Vulkan's memory model or compute shaders");
  }
  // Four subgroups share the smallest tile (lower_matmul.cc).
  if (traits.subgroup_size == 0 || 4 * traits.subgroup_size > traits.max_invocations) {
    return unused("it needs workgroups of four subgroups of a known size");
  }
  constexpr uint32_t kIntel = 0x8086;
  const auto& sizes = reported.subgroup_size_properties;
  if (reported.base.vendorID == kIntel && sizes.minSubgroupSize != sizes.maxSubgroupSize) {
    return unused("its matrices want subgroups of a size the driver does not tell");
  }
  MatrixSize best;
  for (const VkCooperativeMatrixPropertiesKHR& p : reported.matrices) {
    // tile_matrix.glsl cuts its tiles into these.
    const auto fits = [](uint32_t size) { return size == 8 || size == 16; };
    if (p.AType != VK_COMPONENT_TYPE_FLOAT16_KHR || p.BType != VK_COMPONENT_TYPE_FLOAT16_KHR ||
        p.CType != VK_COMPONENT_TYPE_FLOAT32_KHR || p.ResultType != VK_COMPONENT_TYPE_FLOAT32_KHR ||
        p.scope != VK_SCOPE_SUBGROUP_KHR || p.saturatingAccumulation || !fits(p.MSize) ||
        !fits(p.NSize) || !(fits(p.KSize) || p.KSize == 32)) {
      continue;
    }
    if (p.MSize * p.NSize * p.KSize > best.m * best.n * best.k) {
      best = {p.MSize, p.NSize, p.KSize};
    }
  }
  if (best.m == 0) return unused("none of f16 with sums in f32 has a size the shaders know");
  if (!settings.cooperative_matrix.value_or(traits.type != VK_PHYSICAL_DEVICE_TYPE_CPU)) {
    return unused("it is no faster here");
  }
  traits.matrix = best;
  return "";
}

// A line for each optional ability and whether it is used.
std::vector<std::string> Lines(const Reported& reported, const Settings& settings,
                               const Traits& traits, absl::string_view matrix_unused) {
  std::vector<std::string> lines;
  const auto line = [&](absl::string_view what, auto&&... state) {
    lines.push_back(absl::StrCat(what, ": ", state...));
  };
  const auto unused = [](bool there, absl::string_view why) {
    return there ? absl::StrCat("there and not used; ", why) : std::string("not there");
  };
  if (traits.subgroup_size != 0) {
    line("subgroup operations", "used, of ", traits.subgroup_size, " invocations, size controlled");
  } else {
    line("subgroup operations", "not used; sums go through shared memory");
  }
  if (traits.matrix.m != 0) {
    line("cooperative matrix", "used for products of many columns, ", traits.matrix.m, " x ",
         traits.matrix.n, " x ", traits.matrix.k);
  } else {
    line("cooperative matrix", matrix_unused);
  }
  if (traits.integer_dot) {
    line("integer dot product", "used for products of many columns",
         traits.matrix.m != 0 ? " that matrices do not do" : "");
  } else {
    line("integer dot product",
         unused(reported.dot_features.shaderIntegerDotProduct, "it is no faster here"));
  }
  line("8-bit and 16-bit storage", traits.small_storage ? "used for weights and the KV cache"
                                                        : "not used; words are taken apart");
  if (traits.matrix.m != 0) {
    line("f16 arithmetic", "used in cooperative matrices");
  } else if (traits.half_products) {
    line("f16 arithmetic", "used for products of many columns",
         traits.integer_dot ? " with f16 weights" : "");
  } else {
    line("f16 arithmetic",
         unused(reported.features12.shaderFloat16, "a processor multiplies in f32"));
  }
  line("int8 arithmetic",
       unused(reported.features12.shaderInt8, "four bytes are a word to shaders"));
  line("timeline semaphores", "used");
  line("memory budget",
       traits.memory_budget ? "used" : "not there; free memory is what Bantam has not taken");
  line("buffer device address",
       traits.device_address
           ? "used for weights larger than a binding"
           : unused(reported.features12.bufferDeviceAddress, "what does not fit a binding is cut"));
  line("memory", traits.host_reads    ? "the host's, weights are written where they are used"
                 : traits.host_writes ? "written by the host, read back through staging"
                 : traits.mapped_memory != UINT32_MAX
                     ? "the GPU's, through staging; small buffers are written directly"
                     : "the GPU's, through staging");
  line("transfer queue", traits.host_writes                     ? "not needed; nothing is uploaded"
                         : traits.transfer_family != UINT32_MAX ? "used for uploads"
                         : settings.transfer_queue == false
                             ? "not used"
                             : "not there; uploads take turns with shaders");
  line("limits", FormatByteSize(traits.binding_limit), " in a binding, ",
       FormatByteSize(traits.allocation_limit), " in an allocation, ",
       FormatByteSize(traits.shared_memory), " shared by a workgroup");
  return lines;
}

}  // namespace

absl::StatusOr<Traits> QueryTraits(const Instance& instance, VkPhysicalDevice gpu,
                                   const Settings& settings) {
  return Choose(Ask(instance, gpu, settings), settings,
                !ShaderCode(Shader::kMatMulMatrix, Reads::kWords).empty());
}

absl::StatusOr<Traits> Choose(const Reported& reported, const Settings& settings,
                              bool matrix_shader) {
  const VkPhysicalDeviceProperties& base = reported.base;
  const VkPhysicalDeviceLimits& limits = base.limits;
  Traits traits;
  traits.name = base.deviceName;
  traits.driver = absl::StrCat(
      reported.properties12.driverName, " ", reported.properties12.driverInfo, ", Vulkan ",
      VK_API_VERSION_MAJOR(base.apiVersion), ".", VK_API_VERSION_MINOR(base.apiVersion), ".",
      VK_API_VERSION_PATCH(base.apiVersion));
  traits.hardware_id = absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(reported.properties11.deviceUUID),
                        sizeof(reported.properties11.deviceUUID)));
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
      std::min<uint64_t>(reported.properties11.maxMemoryAllocationSize, settings.allocation_limit);
  if (reported.maintenance4.maxBufferSize != 0) {
    traits.allocation_limit =
        std::min<uint64_t>(traits.allocation_limit, reported.maintenance4.maxBufferSize);
  }
  traits.offset_alignment = std::max<uint64_t>(limits.minStorageBufferOffsetAlignment, 16);

  // What came with Vulkan 1.3 is an extension to be enabled before.
  const auto enable = [&](const char* extension) {
    if (base.apiVersion < VK_API_VERSION_1_3) traits.extensions.push_back(extension);
  };
  constexpr VkSubgroupFeatureFlags kNeeded =
      VK_SUBGROUP_FEATURE_BASIC_BIT | VK_SUBGROUP_FEATURE_ARITHMETIC_BIT;
  const auto& subgroups = reported.properties11;
  const auto& sizes = reported.subgroup_size_properties;
  if (settings.subgroups && (subgroups.subgroupSupportedOperations & kNeeded) == kNeeded &&
      (subgroups.subgroupSupportedStages & VK_SHADER_STAGE_COMPUTE_BIT) != 0 &&
      reported.subgroup_size_features.subgroupSizeControl &&
      reported.subgroup_size_features.computeFullSubgroups &&
      (sizes.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT) != 0) {
    traits.subgroup_size = std::clamp<uint32_t>(32, sizes.minSubgroupSize, sizes.maxSubgroupSize);
    enable(VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME);
  }
  traits.integer_dot = reported.dot_features.shaderIntegerDotProduct &&
                       settings.integer_dot.value_or(
                           reported.dot_properties.integerDotProduct4x8BitPackedSignedAccelerated);
  if (traits.integer_dot) enable(VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME);
  traits.small_storage = reported.features11.storageBuffer16BitAccess &&
                         reported.features12.storageBuffer8BitAccess && settings.small_storage;
  // Its shaders are built for both alone.
  traits.device_address =
      reported.features12.bufferDeviceAddress && traits.small_storage && settings.device_address;
  const std::string matrix_unused = ChooseMatrix(reported, settings, matrix_shader, traits);
  if (traits.matrix.m != 0) {
    traits.extensions.push_back(VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME);
  }
  traits.half_products =
      reported.features12.shaderFloat16 && traits.matrix.m == 0 &&
      settings.half_products.value_or(traits.type != VK_PHYSICAL_DEVICE_TYPE_CPU);
  traits.memory_budget = settings.budget && reported.Has(VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
  if (traits.memory_budget) traits.extensions.push_back(VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);

  BANTAM_RETURN_IF_ERROR(ChooseQueues(reported.queues, settings, traits));
  BANTAM_RETURN_IF_ERROR(ChooseMemory(reported.memory, settings, traits));
  if (traits.host_writes) traits.transfer_family = UINT32_MAX;  // nothing is uploaded
  traits.lines = Lines(reported, settings, traits, matrix_unused);
  return traits;
}

}  // namespace bantam::vulkan
