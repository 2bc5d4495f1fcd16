#include "backends/vulkan/gpu.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "backends/vulkan/codebooks.h"
#include "runtime/base/byte_size.h"
#include "runtime/base/status.h"

namespace bantam::vulkan {
namespace {

constexpr uint64_t kStagingBytes = 8 << 20;  // each half, at most

// The GPUs opened, and the bytes allocated on each; kept to the end of the process, so that the
// next model finds the pipelines made.
struct Opened {
  std::mutex mutex;
  std::map<VkPhysicalDevice, std::shared_ptr<Gpu>> gpus;
  std::map<VkPhysicalDevice, std::atomic<uint64_t>> allocated;
};
Opened& TheOpened() {
  static auto* opened = new Opened;
  return *opened;
}
std::atomic<uint64_t>& Allocated(VkPhysicalDevice physical) {
  std::lock_guard lock(TheOpened().mutex);
  return TheOpened().allocated[physical];
}

// True when this allocation or submission is the one to fail.
bool Strikes(std::atomic<int>& fault) {
  int left = fault.load();
  while (left > 0) {
    if (fault.compare_exchange_weak(left, left - 1)) return left == 1;
  }
  return false;
}

void BarrierAll(const DeviceFunctions& vk, VkCommandBuffer commands) {
  VkMemoryBarrier barrier{VK_STRUCTURE_TYPE_MEMORY_BARRIER};
  barrier.srcAccessMask = VK_ACCESS_MEMORY_WRITE_BIT;
  barrier.dstAccessMask = VK_ACCESS_MEMORY_READ_BIT | VK_ACCESS_MEMORY_WRITE_BIT;
  vk.CmdPipelineBarrier(commands, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT,
                        VK_PIPELINE_STAGE_ALL_COMMANDS_BIT | VK_PIPELINE_STAGE_HOST_BIT, 0, 1,
                        &barrier, 0, nullptr, 0, nullptr);
}

}  // namespace

absl::StatusOr<std::shared_ptr<Gpu>> Gpu::Open(Instance& instance, VkPhysicalDevice physical,
                                               const Settings& settings) {
  Opened& opened = TheOpened();
  std::lock_guard lock(opened.mutex);
  opened.allocated[physical];
  std::shared_ptr<Gpu>& gpu = opened.gpus[physical];
  if (gpu == nullptr || gpu->lost() || !(gpu->settings() == settings)) {
    std::shared_ptr<Gpu> made(new Gpu(instance, physical, settings));
    BANTAM_RETURN_IF_ERROR(made->Create());
    gpu = std::move(made);
  }
  return gpu;
}

uint64_t Gpu::AllocatedBytes(VkPhysicalDevice physical) { return Allocated(physical); }

Gpu::~Gpu() {
  if (device_ == VK_NULL_HANDLE) return;
  vk_.DeviceWaitIdle(device_);
  codebooks_ = {};
  for (Copier* copier : {&copier_, &uploader_}) {
    for (Memory& half : copier->staging) half = {};
    copier->pool = {};
  }
  main_.semaphore = {};
  transfers_.semaphore = {};
  pipelines_.reset();
  vk_.DestroyDevice(device_, nullptr);
}

absl::Status Gpu::Create() {
  BANTAM_ASSIGN_OR_RETURN(traits_, QueryTraits(instance_, physical_, settings_));
  const float priority = 1;
  const bool two_families =
      traits_.transfer_family != UINT32_MAX && traits_.transfer_family != traits_.queue_family;
  VkDeviceQueueCreateInfo queues[2];
  for (int i = 0; i < 2; ++i) {
    queues[i] = {VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO};
    queues[i].queueFamilyIndex = i == 0 ? traits_.queue_family : traits_.transfer_family;
    queues[i].queueCount = 1;
    queues[i].pQueuePriorities = &priority;
  }
  VkPhysicalDeviceFeatures2 features{VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2};
  void** next = &features.pNext;
  const auto add = [&next](auto& structure) {
    *next = &structure;
    next = &structure.pNext;
  };
  VkPhysicalDeviceVulkan11Features features11{
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES};
  features11.storageBuffer16BitAccess = traits_.small_storage;
  add(features11);
  VkPhysicalDeviceVulkan12Features features12{
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
  features12.timelineSemaphore = VK_TRUE;
  features12.storageBuffer8BitAccess = traits_.small_storage;
  if (traits_.matrix.m != 0) {
    features12.shaderFloat16 = VK_TRUE;
    // With the memory model on, atomics of all shaders need the scope.
    features12.vulkanMemoryModel = features12.vulkanMemoryModelDeviceScope = VK_TRUE;
  }
  add(features12);
  VkPhysicalDeviceSubgroupSizeControlFeatures subgroup_size{
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES};
  subgroup_size.subgroupSizeControl = subgroup_size.computeFullSubgroups = VK_TRUE;
  if (traits_.subgroup_size != 0) add(subgroup_size);
  VkPhysicalDeviceShaderIntegerDotProductFeatures integer_dot{
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES};
  integer_dot.shaderIntegerDotProduct = VK_TRUE;
  if (traits_.integer_dot) add(integer_dot);
  VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix{
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR};
  matrix.cooperativeMatrix = VK_TRUE;
  if (traits_.matrix.m != 0) add(matrix);
  VkDeviceCreateInfo info{VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO, &features};
  info.queueCreateInfoCount = two_families ? 2 : 1;
  info.pQueueCreateInfos = queues;
  info.enabledExtensionCount = static_cast<uint32_t>(traits_.extensions.size());
  info.ppEnabledExtensionNames = traits_.extensions.data();
  BANTAM_RETURN_IF_ERROR(ToStatus(instance_.vk().CreateDevice(physical_, &info, nullptr, &device_),
                                  absl::StrCat("opening ", traits_.name)));
#define BANTAM_VULKAN_LOAD(function)                 \
  vk_.function = reinterpret_cast<PFN_vk##function>( \
      instance_.vk().GetDeviceProcAddr(device_, "vk" #function));
  BANTAM_VULKAN_DEVICE(BANTAM_VULKAN_LOAD)
#undef BANTAM_VULKAN_LOAD
  BANTAM_RETURN_IF_ERROR(Make(main_, traits_.queue_family));
  BANTAM_RETURN_IF_ERROR(Make(copier_, main_, traits_.queue_family));
  if (traits_.transfer_family != UINT32_MAX) {
    BANTAM_RETURN_IF_ERROR(Make(transfers_, traits_.transfer_family));
    BANTAM_RETURN_IF_ERROR(Make(uploader_, transfers_, traits_.transfer_family));
  }
  pipelines_ = std::make_unique<Pipelines>(
      vk_, device_, absl::StrCat(traits_.name, "; ", traits_.driver), traits_.small_storage);
  return absl::OkStatus();
}

absl::Status Gpu::Make(Timeline& timeline, uint32_t family) {
  vk_.GetDeviceQueue(device_, family, 0, &timeline.queue);
  VkSemaphoreTypeCreateInfo type{VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO};
  type.semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE;
  VkSemaphoreCreateInfo semaphore{VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, &type};
  VkSemaphore made;
  BANTAM_RETURN_IF_ERROR(
      ToStatus(vk_.CreateSemaphore(device_, &semaphore, nullptr, &made), "creating a semaphore"));
  timeline.semaphore = {device_, made, vk_.DestroySemaphore};
  return absl::OkStatus();
}

absl::Status Gpu::Make(Copier& copier, Timeline& timeline, uint32_t family) {
  copier.timeline = &timeline;
  VkCommandPoolCreateInfo pool{VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO};
  pool.flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT;
  pool.queueFamilyIndex = family;
  VkCommandPool made;
  BANTAM_RETURN_IF_ERROR(
      ToStatus(vk_.CreateCommandPool(device_, &pool, nullptr, &made), "creating a command pool"));
  copier.pool = {device_, made, vk_.DestroyCommandPool};
  VkCommandBufferAllocateInfo commands{VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO};
  commands.commandPool = made;
  commands.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
  commands.commandBufferCount = 2;
  return ToStatus(vk_.AllocateCommandBuffers(device_, &commands, copier.commands),
                  "allocating command buffers");
}

absl::Status Gpu::Note(VkResult result, absl::string_view what) {
  if (result == VK_ERROR_DEVICE_LOST) lost_ = true;
  return ToStatus(result, what);
}

absl::Status Gpu::CheckRoom(uint64_t bytes, uint32_t heap) const {
  const auto exhausted = [&](auto&&... why) {
    return absl::ResourceExhaustedError(absl::StrCat(traits_.name, ": ", FormatByteSize(bytes),
                                                     " of memory cannot be had; ", why...));
  };
  if (traits_.memory_budget) {
    const Budget budget = BudgetOf(instance_, physical_, heap);
    if (bytes <= budget.left()) return absl::OkStatus();
    return exhausted(FormatByteSize(budget.left()), " are left of the ",
                     FormatByteSize(budget.bytes), " the driver grants this program");
  }
  const uint64_t allocated = AllocatedBytes(physical_);
  if (heap != traits_.heap || bytes + allocated <= traits_.heap_bytes) return absl::OkStatus();
  return exhausted(FormatByteSize(allocated), " of ", FormatByteSize(traits_.heap_bytes),
                   " are in use");
}

absl::StatusOr<Memory> Gpu::Allocate(uint64_t bytes, Where where) {
  auto exhausted = [&](absl::string_view why) {
    return absl::ResourceExhaustedError(
        absl::StrCat(traits_.name, ": ", FormatByteSize(bytes), " of memory ", why));
  };
  if (bytes > traits_.allocation_limit - 16) {
    return exhausted(
        absl::StrCat("in one piece; its limit is ", FormatByteSize(traits_.allocation_limit)));
  }
  if (Strikes(TheFaults().allocation_in)) return exhausted("cannot be had (injected)");
  // Shaders read whole words, from blocks of odd sizes too.
  bytes = (std::max<uint64_t>(bytes, 1) + 15) / 16 * 16;
  VkBufferCreateInfo info{VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO};
  info.size = bytes;
  info.usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
               VK_BUFFER_USAGE_TRANSFER_DST_BIT;
  const uint32_t families[] = {traits_.queue_family, traits_.transfer_family};
  if (traits_.transfer_family != UINT32_MAX && families[0] != families[1]) {
    info.sharingMode = VK_SHARING_MODE_CONCURRENT;
    info.queueFamilyIndexCount = 2;
    info.pQueueFamilyIndices = families;
  }
  Memory memory;
  VkBuffer buffer;
  BANTAM_RETURN_IF_ERROR(
      Note(vk_.CreateBuffer(device_, &info, nullptr, &buffer), "creating a buffer"));
  memory.buffer = {device_, buffer, vk_.DestroyBuffer};
  VkMemoryRequirements needs;
  vk_.GetBufferMemoryRequirements(device_, buffer, &needs);
  uint32_t type = traits_.device_memory;
  if (where == Where::kStaging) {
    type = traits_.staging_memory;
  } else {
    const bool written = where == Where::kDeviceWritten && traits_.mapped_memory != UINT32_MAX;
    if (written && CheckRoom(needs.size, traits_.mapped_heap).ok()) {
      type = traits_.mapped_memory;
    } else {
      BANTAM_RETURN_IF_ERROR(CheckRoom(needs.size, traits_.heap));
    }
  }
  if ((needs.memoryTypeBits >> type & 1) == 0) {
    return absl::InternalError(
        absl::StrCat(traits_.name, ": a storage buffer cannot live in ", "memory of type ", type));
  }
  VkMemoryAllocateInfo allocate{VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO};
  allocate.allocationSize = needs.size;
  allocate.memoryTypeIndex = type;
  VkDeviceMemory device_memory;
  VkResult result = vk_.AllocateMemory(device_, &allocate, nullptr, &device_memory);
  if (result == VK_ERROR_OUT_OF_DEVICE_MEMORY && type == traits_.mapped_memory &&
      type != traits_.device_memory) {
    // The window through which the host sees the GPU's memory may be small.
    allocate.memoryTypeIndex = type = traits_.device_memory;
    result = vk_.AllocateMemory(device_, &allocate, nullptr, &device_memory);
  }
  if (result == VK_ERROR_OUT_OF_DEVICE_MEMORY || result == VK_ERROR_OUT_OF_HOST_MEMORY) {
    return exhausted("cannot be had");
  }
  BANTAM_RETURN_IF_ERROR(Note(result, "allocating memory"));
  memory.memory = {device_, device_memory, vk_.FreeMemory};
  BANTAM_RETURN_IF_ERROR(
      Note(vk_.BindBufferMemory(device_, buffer, device_memory, 0), "binding memory"));
  const bool map = where == Where::kStaging ||
                   (type == traits_.mapped_memory && where == Where::kDeviceWritten) ||
                   (type == traits_.device_memory && traits_.host_writes);
  if (map) {
    void* mapped = nullptr;
    BANTAM_RETURN_IF_ERROR(Note(vk_.MapMemory(device_, device_memory, 0, VK_WHOLE_SIZE, 0, &mapped),
                                "mapping memory"));
    memory.mapped = static_cast<std::byte*>(mapped);
  }
  memory.bytes = bytes;
  if (where != Where::kStaging) Allocated(physical_) += bytes;
  return memory;
}

void Gpu::Free(Memory& memory) {
  Allocated(physical_) -= memory.bytes;
  memory = {};
}

absl::StatusOr<uint64_t> Gpu::Submit(VkCommandBuffer commands) { return Submit(main_, commands); }

absl::StatusOr<uint64_t> Gpu::Submit(Timeline& timeline, VkCommandBuffer commands) {
  std::lock_guard lock(queue_mutex_);
  if (Strikes(TheFaults().submit_in)) return Note(VK_ERROR_DEVICE_LOST, "submitting (injected)");
  if (lost_) return ToStatus(VK_ERROR_DEVICE_LOST, "submitting");
  const uint64_t value = timeline.submitted + 1;
  const VkSemaphore semaphore = timeline.semaphore.get();
  VkTimelineSemaphoreSubmitInfo values{VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO};
  values.signalSemaphoreValueCount = 1;
  values.pSignalSemaphoreValues = &value;
  VkSubmitInfo info{VK_STRUCTURE_TYPE_SUBMIT_INFO, &values};
  info.commandBufferCount = 1;
  info.pCommandBuffers = &commands;
  info.signalSemaphoreCount = 1;
  info.pSignalSemaphores = &semaphore;
  const Timeline& other = &timeline == &main_ ? transfers_ : main_;
  const uint64_t seen = other.seen;
  const VkSemaphore others = other.semaphore.get();
  const VkPipelineStageFlags stages = VK_PIPELINE_STAGE_ALL_COMMANDS_BIT;
  if (seen > 0) {
    values.waitSemaphoreValueCount = 1;
    values.pWaitSemaphoreValues = &seen;
    info.waitSemaphoreCount = 1;
    info.pWaitSemaphores = &others;
    info.pWaitDstStageMask = &stages;
  }
  BANTAM_RETURN_IF_ERROR(
      Note(vk_.QueueSubmit(timeline.queue, 1, &info, VK_NULL_HANDLE), "submitting"));
  return timeline.submitted = value;
}

uint64_t Gpu::last_submitted() const {
  std::lock_guard lock(queue_mutex_);
  return main_.submitted;
}

absl::Status Gpu::Wait(uint64_t submitted) { return Wait(main_, submitted); }

absl::Status Gpu::Wait(Timeline& timeline, uint64_t submitted) {
  if (lost_) return ToStatus(VK_ERROR_DEVICE_LOST, "waiting for the GPU");
  if (submitted == 0) return absl::OkStatus();
  const VkSemaphore semaphore = timeline.semaphore.get();
  VkSemaphoreWaitInfo wait{VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO};
  wait.semaphoreCount = 1;
  wait.pSemaphores = &semaphore;
  wait.pValues = &submitted;
  BANTAM_RETURN_IF_ERROR(
      Note(vk_.WaitSemaphores(device_, &wait, UINT64_MAX), "waiting for the GPU"));
  uint64_t before = timeline.seen;
  while (before < submitted && !timeline.seen.compare_exchange_weak(before, submitted)) {
  }
  return absl::OkStatus();
}

absl::Status Gpu::RunNow(const std::function<void(VkCommandBuffer)>& record) {
  std::lock_guard lock(copier_.mutex);
  const VkCommandBuffer commands = copier_.commands[0];
  VkCommandBufferBeginInfo begin{VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
  begin.flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT;
  BANTAM_RETURN_IF_ERROR(Note(vk_.BeginCommandBuffer(commands, &begin), "recording"));
  BarrierAll(vk_, commands);
  record(commands);
  BarrierAll(vk_, commands);
  BANTAM_RETURN_IF_ERROR(Note(vk_.EndCommandBuffer(commands), "recording"));
  BANTAM_ASSIGN_OR_RETURN(const uint64_t submitted, Submit(commands));
  return Wait(submitted);
}

absl::Status Gpu::Staging(Copier& copier) {
  for (Memory& half : copier.staging) {
    if (half.mapped != nullptr) continue;
    BANTAM_ASSIGN_OR_RETURN(
        half, Allocate(std::min(kStagingBytes, traits_.allocation_limit - 16), Where::kStaging));
  }
  return absl::OkStatus();
}

absl::Status Gpu::CopyIn(VkBuffer buffer, uint64_t offset, std::span<const std::byte> data) {
  Copier& copier = traits_.transfer_family != UINT32_MAX ? uploader_ : copier_;
  Timeline& timeline = *copier.timeline;
  std::lock_guard lock(copier.mutex);
  BANTAM_RETURN_IF_ERROR(Staging(copier));
  uint64_t pending[2] = {0, 0}, last = 0;
  for (int half = 0; !data.empty(); half ^= 1) {
    BANTAM_RETURN_IF_ERROR(Wait(timeline, pending[half]));
    const uint64_t count = std::min<uint64_t>(data.size(), copier.staging[half].bytes);
    std::memcpy(copier.staging[half].mapped, data.data(), count);
    const VkCommandBuffer commands = copier.commands[half];
    VkCommandBufferBeginInfo begin{VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    begin.flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT;
    BANTAM_RETURN_IF_ERROR(Note(vk_.BeginCommandBuffer(commands, &begin), "recording"));
    BarrierAll(vk_, commands);
    const VkBufferCopy region{0, offset, count};
    vk_.CmdCopyBuffer(commands, copier.staging[half].buffer.get(), buffer, 1, &region);
    BANTAM_RETURN_IF_ERROR(Note(vk_.EndCommandBuffer(commands), "recording"));
    BANTAM_ASSIGN_OR_RETURN(pending[half], Submit(timeline, commands));
    last = pending[half];
    data = data.subspan(count);
    offset += count;
  }
  return Wait(timeline, last);
}

absl::Status Gpu::CopyOut(VkBuffer buffer, uint64_t offset, std::span<std::byte> data) {
  std::lock_guard lock(copier_.mutex);
  BANTAM_RETURN_IF_ERROR(Staging(copier_));
  while (!data.empty()) {
    const uint64_t count = std::min<uint64_t>(data.size(), copier_.staging[0].bytes);
    const VkCommandBuffer commands = copier_.commands[0];
    VkCommandBufferBeginInfo begin{VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
    begin.flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT;
    BANTAM_RETURN_IF_ERROR(Note(vk_.BeginCommandBuffer(commands, &begin), "recording"));
    BarrierAll(vk_, commands);
    const VkBufferCopy region{offset, 0, count};
    vk_.CmdCopyBuffer(commands, buffer, copier_.staging[0].buffer.get(), 1, &region);
    BarrierAll(vk_, commands);
    BANTAM_RETURN_IF_ERROR(Note(vk_.EndCommandBuffer(commands), "recording"));
    BANTAM_ASSIGN_OR_RETURN(const uint64_t submitted, Submit(commands));
    BANTAM_RETURN_IF_ERROR(Wait(submitted));
    std::memcpy(data.data(), copier_.staging[0].mapped, count);
    data = data.subspan(count);
    offset += count;
  }
  return absl::OkStatus();
}

absl::StatusOr<VkBuffer> Gpu::Codebooks() {
  std::lock_guard lock(codebooks_mutex_);
  if (codebooks_.bytes != 0) return codebooks_.buffer.get();
  const std::vector<uint32_t> words = CodebookWords();
  const auto bytes = std::as_bytes(std::span(words));
  BANTAM_ASSIGN_OR_RETURN(Memory memory, Allocate(bytes.size(), Where::kDevice));
  BANTAM_RETURN_IF_ERROR(CopyIn(memory.buffer.get(), 0, bytes));
  codebooks_ = std::move(memory);
  return codebooks_.buffer.get();
}

}  // namespace bantam::vulkan
