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

int Rank(vk::PhysicalDeviceType type) {
  switch (type) {
    case vk::PhysicalDeviceType::eDiscreteGpu:
      return 0;
    case vk::PhysicalDeviceType::eIntegratedGpu:
      return 1;
    case vk::PhysicalDeviceType::eVirtualGpu:
      return 2;
    default:
      return 3;
  }
}

std::string VersionText(uint32_t version) {
  return absl::StrCat(VK_API_VERSION_MAJOR(version), ".", VK_API_VERSION_MINOR(version));
}

}  // namespace

absl::Status ToStatus(vk::Result result, absl::string_view what) {
  const auto number = static_cast<int>(result);
  switch (result) {
    case vk::Result::eSuccess:
      return absl::OkStatus();
    case vk::Result::eErrorOutOfDeviceMemory:
      return absl::ResourceExhaustedError(absl::StrCat(what, ": the GPU is out of memory"));
    case vk::Result::eErrorOutOfHostMemory:
    case vk::Result::eErrorOutOfPoolMemory:
    case vk::Result::eErrorFragmentedPool:
    case vk::Result::eErrorTooManyObjects:
      return absl::ResourceExhaustedError(
          absl::StrCat(what, ": the Vulkan driver is out of memory (VkResult ", number, ")"));
    case vk::Result::eErrorDeviceLost:
      return absl::UnavailableError(absl::StrCat(
          what, ": the GPU was lost (reset by the driver, or removed); load the model again"));
    default:
      return absl::InternalError(absl::StrCat(what, ": VkResult ", number));
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
  const auto find =
      reinterpret_cast<PFN_vkGetInstanceProcAddr>(dlsym(loader, "vkGetInstanceProcAddr"));
  if (find == nullptr) return absl::InternalError("libvulkan.so.1 lacks vkGetInstanceProcAddr");
  vk_.init(find);
  uint32_t version = VK_API_VERSION_1_0;  // which has no function to ask
  if (vk_.vkEnumerateInstanceVersion != nullptr) {
    BANTAM_RETURN_IF_ERROR(
        Take(vk::enumerateInstanceVersion(vk_), version, "asking for Vulkan's version"));
  }
  if (version < VK_API_VERSION_1_2) {
    return absl::NotFoundError(
        absl::StrCat("the Vulkan loader is of version ", VersionText(version), "; 1.2 is needed"));
  }

  const vk::ApplicationInfo application{
      .pApplicationName = "bantam", .apiVersion = std::min<uint32_t>(version, VK_API_VERSION_1_3)};
  vk::InstanceCreateInfo info{.pApplicationInfo = &application};
  const char* layer = "VK_LAYER_KHRONOS_validation";
  const char* extensions[] = {VK_EXT_DEBUG_UTILS_EXTENSION_NAME,
                              VK_EXT_VALIDATION_FEATURES_EXTENSION_NAME};
  // Of C, for versions of Vulkan-Hpp declare its callback in two ways.
  VkDebugUtilsMessengerCreateInfoEXT messenger{
      VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT};
  messenger.messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                              VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT;
  messenger.messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT |
                          VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT;
  messenger.pfnUserCallback = &OnMessage;
  const auto synchronization = vk::ValidationFeatureEnableEXT::eSynchronizationValidation;
  const vk::ValidationFeaturesEXT features{.pNext = &messenger,
                                           .enabledValidationFeatureCount = 1,
                                           .pEnabledValidationFeatures = &synchronization};
  const bool validate = ValidationWanted();
  if (validate) {
    info.pNext = &features;
    info.enabledLayerCount = 1;
    info.ppEnabledLayerNames = &layer;
    info.enabledExtensionCount = 2;
    info.ppEnabledExtensionNames = extensions;
  }
  const auto [created, instance] = vk::createInstance(info, nullptr, vk_);
  if (created == vk::Result::eErrorLayerNotPresent) {
    return absl::NotFoundError(
        "BANTAM_VULKAN_VALIDATION=1, but the Khronos validation layer is not installed");
  }
  if (created == vk::Result::eErrorIncompatibleDriver) {
    return absl::NotFoundError("no Vulkan driver on this machine");
  }
  BANTAM_RETURN_IF_ERROR(ToStatus(created, "creating a Vulkan instance"));
  instance_ = instance;
  vk_.init(instance_);
  if (!validate) return absl::OkStatus();
  // Like the instance, it is never destroyed.
  VkDebugUtilsMessengerEXT ignored;
  const auto result = static_cast<vk::Result>(
      vk_.vkCreateDebugUtilsMessengerEXT(instance_, &messenger, nullptr, &ignored));
  return ToStatus(result, "validation");
}

absl::Status Instance::FindGpus() {
  std::vector<vk::PhysicalDevice> all;
  BANTAM_RETURN_IF_ERROR(Take(instance_.enumeratePhysicalDevices(vk_), all, "listing GPUs"));
  std::vector<std::pair<int, vk::PhysicalDevice>> ranked;
  for (vk::PhysicalDevice gpu : all) {
    const vk::PhysicalDeviceProperties properties = gpu.getProperties(vk_);
    const auto refuse = [&](auto&&... why) {
      unusable_.push_back(absl::StrCat(properties.deviceName.data(), ": ", why...));
    };
    const uint32_t buffers = properties.limits.maxPerStageDescriptorStorageBuffers;
    if (properties.apiVersion < VK_API_VERSION_1_2) {
      refuse("its driver has Vulkan ", VersionText(properties.apiVersion), "; 1.2 is needed");
    } else if (buffers < 8) {
      refuse(buffers, " storage buffers for a shader; 8 are needed");
    } else {
      ranked.emplace_back(Rank(properties.deviceType), gpu);
    }
  }
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [rank, gpu] : ranked) gpus_.push_back(gpu);
  return absl::OkStatus();
}

}  // namespace bantam::vulkan
