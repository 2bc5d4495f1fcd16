#include "backends/vulkan/instance.h"

#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"

namespace bantam::vulkan {
namespace {

std::atomic<int> validation_message_count{0};

VKAPI_ATTR VkBool32 VKAPI_CALL OnMessage(VkDebugUtilsMessageSeverityFlagBitsEXT,
                                         VkDebugUtilsMessageTypeFlagsEXT,
                                         const VkDebugUtilsMessengerCallbackDataEXT* data, void*) {
  ++validation_message_count;
  std::fprintf(stderr, "vulkan validation: %s\n", data->pMessage);
  return VK_FALSE;
}

bool ValidationWanted() {
  const char* wanted = std::getenv("BANTAM_VULKAN_VALIDATION");
  return wanted != nullptr && std::strcmp(wanted, "1") == 0;
}

int Rank(VkPhysicalDeviceType type) {
  switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
      return 0;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
      return 1;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
      return 2;
    default:
      return 3;
  }
}

}  // namespace

absl::Status ToStatus(VkResult result, absl::string_view what) {
  switch (result) {
    case VK_SUCCESS:
      return absl::OkStatus();
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
      return absl::ResourceExhaustedError(absl::StrCat(what, ": the GPU is out of memory"));
    case VK_ERROR_OUT_OF_HOST_MEMORY:
    case VK_ERROR_OUT_OF_POOL_MEMORY:
    case VK_ERROR_FRAGMENTED_POOL:
    case VK_ERROR_TOO_MANY_OBJECTS:
      return absl::ResourceExhaustedError(
          absl::StrCat(what, ": the Vulkan driver is out of memory (VkResult ", result, ")"));
    case VK_ERROR_DEVICE_LOST:
      return absl::UnavailableError(absl::StrCat(
          what, ": the GPU was lost (reset by the driver, or removed); load the model again"));
    default:
      return absl::InternalError(absl::StrCat(what, ": VkResult ", result));
  }
}

absl::StatusOr<Instance*> Instance::Get() {
  static const auto* made = new absl::StatusOr<Instance*>([]() -> absl::StatusOr<Instance*> {
    auto* instance = new Instance;
    BANTAM_RETURN_IF_ERROR(instance->Create());
    BANTAM_RETURN_IF_ERROR(instance->FindGpus());
    return instance;
  }());
  return *made;
}

int Instance::validation_messages() { return validation_message_count; }

absl::Status Instance::Create() {
  void* loader = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
  if (loader == nullptr) {
    const char* why = dlerror();
    return absl::NotFoundError(absl::StrCat("no Vulkan loader on this machine (",
                                            why != nullptr ? why : "libvulkan.so.1", ")"));
  }
  global_.GetInstanceProcAddr =
      reinterpret_cast<PFN_vkGetInstanceProcAddr>(dlsym(loader, "vkGetInstanceProcAddr"));
  if (global_.GetInstanceProcAddr == nullptr) {
    return absl::InternalError("libvulkan.so.1 lacks vkGetInstanceProcAddr");
  }
#define BANTAM_VULKAN_LOAD(name) \
  global_.name =                 \
      reinterpret_cast<PFN_vk##name>(global_.GetInstanceProcAddr(VK_NULL_HANDLE, "vk" #name));
  BANTAM_VULKAN_GLOBAL(BANTAM_VULKAN_LOAD)
#undef BANTAM_VULKAN_LOAD
  uint32_t version = VK_API_VERSION_1_0;
  if (global_.EnumerateInstanceVersion != nullptr) global_.EnumerateInstanceVersion(&version);
  if (version < VK_API_VERSION_1_2) {
    return absl::NotFoundError(absl::StrCat("the Vulkan loader is of version ",
                                            VK_API_VERSION_MAJOR(version), ".",
                                            VK_API_VERSION_MINOR(version), "; 1.2 is needed"));
  }

  VkApplicationInfo application{VK_STRUCTURE_TYPE_APPLICATION_INFO};
  application.pApplicationName = "bantam";
  application.apiVersion = std::min<uint32_t>(version, VK_API_VERSION_1_3);
  VkInstanceCreateInfo info{VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO};
  info.pApplicationInfo = &application;
  const char* layer = "VK_LAYER_KHRONOS_validation";
  const char* extensions[] = {VK_EXT_DEBUG_UTILS_EXTENSION_NAME,
                              VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME};
  VkDebugUtilsMessengerCreateInfoEXT messenger{
      VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT};
  messenger.messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                              VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT;
  messenger.messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT |
                          VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT;
  messenger.pfnUserCallback = &OnMessage;
  const VkValidationFeatureEnableEXT enabled[] = {
      VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT};
  VkValidationFeaturesEXT features{VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT};
  features.enabledValidationFeatureCount = 1;
  features.pEnabledValidationFeatures = enabled;
  const bool validate = ValidationWanted();
  if (validate) {
    features.pNext = &messenger;
    info.pNext = &features;
    info.enabledLayerCount = 1;
    info.ppEnabledLayerNames = &layer;
    info.enabledExtensionCount = 2;
    info.ppEnabledExtensionNames = extensions;
  }
  const VkResult created = global_.CreateInstance(&info, nullptr, &instance_);
  if (created == VK_ERROR_LAYER_NOT_PRESENT) {
    return absl::NotFoundError(
        "BANTAM_VULKAN_VALIDATION=1, but the Khronos validation layer is not installed");
  }
  if (created == VK_ERROR_INCOMPATIBLE_DRIVER) {
    return absl::NotFoundError("no Vulkan driver on this machine");
  }
  BANTAM_RETURN_IF_ERROR(ToStatus(created, "creating a Vulkan instance"));
#define BANTAM_VULKAN_LOAD(name) \
  vk_.name = reinterpret_cast<PFN_vk##name>(global_.GetInstanceProcAddr(instance_, "vk" #name));
  BANTAM_VULKAN_INSTANCE(BANTAM_VULKAN_LOAD)
#undef BANTAM_VULKAN_LOAD
  if (validate) {
    VkDebugUtilsMessengerEXT ignored;
    BANTAM_RETURN_IF_ERROR(ToStatus(
        vk_.CreateDebugUtilsMessengerEXT(instance_, &messenger, nullptr, &ignored), "validation"));
  }
  return absl::OkStatus();
}

absl::Status Instance::FindGpus() {
  uint32_t count = 0;
  BANTAM_RETURN_IF_ERROR(
      ToStatus(vk_.EnumeratePhysicalDevices(instance_, &count, nullptr), "listing GPUs"));
  std::vector<VkPhysicalDevice> all(count);
  const VkResult listed = vk_.EnumeratePhysicalDevices(instance_, &count, all.data());
  if (listed != VK_INCOMPLETE) BANTAM_RETURN_IF_ERROR(ToStatus(listed, "listing GPUs"));
  all.resize(count);
  std::vector<std::pair<int, VkPhysicalDevice>> ranked;
  for (VkPhysicalDevice gpu : all) {
    VkPhysicalDeviceProperties properties;
    vk_.GetPhysicalDeviceProperties(gpu, &properties);
    if (properties.apiVersion < VK_API_VERSION_1_2) {
      unusable_.push_back(absl::StrCat(properties.deviceName, ": its driver has Vulkan ",
                                       VK_API_VERSION_MAJOR(properties.apiVersion), ".",
                                       VK_API_VERSION_MINOR(properties.apiVersion),
                                       "; 1.2 is needed"));
      continue;
    }
    if (properties.limits.maxPerStageDescriptorStorageBuffers < 8) {
      unusable_.push_back(absl::StrCat(properties.deviceName, ": ",
                                       properties.limits.maxPerStageDescriptorStorageBuffers,
                                       " storage buffers for a shader; 8 are needed"));
      continue;
    }
    ranked.emplace_back(Rank(properties.deviceType), gpu);
  }
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [rank, gpu] : ranked) gpus_.push_back(gpu);
  return absl::OkStatus();
}

}  // namespace bantam::vulkan
