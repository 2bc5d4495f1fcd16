// Vulkan's functions, found at run time: nothing links against a loader that may not be there.
//
// This is the C interface with a handle class of a few lines rather than Vulkan-Hpp:
// vulkan_raii.hpp costs 8 seconds of compiling in every file that includes it, and reports errors
// by exceptions, which must not leave a plug-in.
#pragma once

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "backends/vulkan/cooperative_matrix.h"

namespace bantam::vulkan {

#define BANTAM_VULKAN_GLOBAL(X) \
  X(CreateInstance)             \
  X(EnumerateInstanceVersion)   \
  X(EnumerateInstanceLayerProperties)

#define BANTAM_VULKAN_INSTANCE(X)                    \
  X(CreateDebugUtilsMessengerEXT)                    \
  X(CreateDevice)                                    \
  X(DestroyDebugUtilsMessengerEXT)                   \
  X(DestroyInstance)                                 \
  X(EnumerateDeviceExtensionProperties)              \
  X(EnumeratePhysicalDevices)                        \
  X(GetDeviceProcAddr)                               \
  X(GetPhysicalDeviceCooperativeMatrixPropertiesKHR) \
  X(GetPhysicalDeviceFeatures2)                      \
  X(GetPhysicalDeviceMemoryProperties2)              \
  X(GetPhysicalDeviceProperties)                     \
  X(GetPhysicalDeviceProperties2)                    \
  X(GetPhysicalDeviceQueueFamilyProperties)

#define BANTAM_VULKAN_DEVICE(X)  \
  X(AllocateCommandBuffers)      \
  X(AllocateDescriptorSets)      \
  X(AllocateMemory)              \
  X(BeginCommandBuffer)          \
  X(BindBufferMemory)            \
  X(CmdBindDescriptorSets)       \
  X(CmdBindPipeline)             \
  X(CmdCopyBuffer)               \
  X(CmdDispatch)                 \
  X(CmdFillBuffer)               \
  X(CmdPipelineBarrier)          \
  X(CmdPushConstants)            \
  X(CreateBuffer)                \
  X(CreateCommandPool)           \
  X(CreateComputePipelines)      \
  X(CreateDescriptorPool)        \
  X(CreateDescriptorSetLayout)   \
  X(CreatePipelineCache)         \
  X(CreatePipelineLayout)        \
  X(CreateSemaphore)             \
  X(CreateShaderModule)          \
  X(DestroyBuffer)               \
  X(DestroyCommandPool)          \
  X(DestroyDescriptorPool)       \
  X(DestroyDescriptorSetLayout)  \
  X(DestroyDevice)               \
  X(DestroyPipeline)             \
  X(DestroyPipelineCache)        \
  X(DestroyPipelineLayout)       \
  X(DestroySemaphore)            \
  X(DestroyShaderModule)         \
  X(DeviceWaitIdle)              \
  X(EndCommandBuffer)            \
  X(FreeCommandBuffers)          \
  X(FreeMemory)                  \
  X(GetBufferMemoryRequirements) \
  X(GetDeviceQueue)              \
  X(GetPipelineCacheData)        \
  X(GetSemaphoreCounterValue)    \
  X(MapMemory)                   \
  X(QueueSubmit)                 \
  X(UpdateDescriptorSets)        \
  X(WaitSemaphores)

#define BANTAM_VULKAN_MEMBER(name) PFN_vk##name name = nullptr;
struct GlobalFunctions {
  PFN_vkGetInstanceProcAddr GetInstanceProcAddr = nullptr;
  BANTAM_VULKAN_GLOBAL(BANTAM_VULKAN_MEMBER)
};
struct InstanceFunctions {
  BANTAM_VULKAN_INSTANCE(BANTAM_VULKAN_MEMBER)
};
struct DeviceFunctions {
  BANTAM_VULKAN_DEVICE(BANTAM_VULKAN_MEMBER)
};
#undef BANTAM_VULKAN_MEMBER

// OK for VK_SUCCESS; kResourceExhausted when memory is out, kUnavailable when the device is lost,
// else kInternal. `what` says what was being done.
absl::Status ToStatus(VkResult result, absl::string_view what);

// Owns an object of a device, to be destroyed by `destroy`.
template <typename Object>
class Handle {
 public:
  using Destroy = void (*)(VkDevice, Object, const VkAllocationCallbacks*);
  Handle() = default;
  Handle(VkDevice device, Object object, Destroy destroy)
      : device_(device), object_(object), destroy_(destroy) {}
  Handle(Handle&& other) noexcept { swap(other); }
  Handle& operator=(Handle&& other) noexcept {
    Handle(std::move(other)).swap(*this);
    return *this;
  }
  ~Handle() {
    if (object_ != VK_NULL_HANDLE) destroy_(device_, object_, nullptr);
  }
  Object get() const { return object_; }

 private:
  void swap(Handle& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(object_, other.object_);
    std::swap(destroy_, other.destroy_);
  }
  VkDevice device_ = VK_NULL_HANDLE;
  Object object_ = VK_NULL_HANDLE;
  Destroy destroy_ = nullptr;
};

}  // namespace bantam::vulkan
