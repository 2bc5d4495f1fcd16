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

constexpr vk::CommandBufferBeginInfo kOnce{.flags = vk::CommandBufferUsageFlagBits::eOneTimeSubmit};

constexpr uint64_t kStagingBytes = 8 << 20;  // each half, at most

// The GPUs opened, and the bytes allocated on each; kept to the end of the process, so that the
// next model finds the pipelines made.
struct Opened {
  std::mutex mutex;
  std::map<vk::PhysicalDevice, std::shared_ptr<Gpu>> gpus;
  std::map<vk::PhysicalDevice, std::atomic<uint64_t>> allocated;
};
Opened& TheOpened() {
  static auto* opened = new Opened;
  return *opened;
}
std::atomic<uint64_t>& Allocated(vk::PhysicalDevice physical) {
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

void BarrierAll(const Dispatcher& vk, vk::CommandBuffer commands) {
  constexpr auto kAll = vk::PipelineStageFlagBits::eAllCommands;
  const vk::MemoryBarrier barrier{
      .srcAccessMask = vk::AccessFlagBits::eMemoryWrite,
      .dstAccessMask = vk::AccessFlagBits::eMemoryRead | vk::AccessFlagBits::eMemoryWrite};
  commands.pipelineBarrier(kAll, kAll | vk::PipelineStageFlagBits::eHost, {}, barrier, {}, {}, vk);
}

}  // namespace

absl::StatusOr<std::shared_ptr<Gpu>> Gpu::Open(Instance& instance, vk::PhysicalDevice physical,
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

uint64_t Gpu::AllocatedBytes(vk::PhysicalDevice physical) { return Allocated(physical); }

Gpu::~Gpu() {
  // Before what is in use is destroyed; a lost GPU uses nothing.
  if (device_) static_cast<void>(device_->waitIdle(vk_));
}

absl::Status Gpu::Create() {
  BANTAM_ASSIGN_OR_RETURN(traits_, QueryTraits(instance_, physical_, settings_));
  const float priority = 1;
  const bool two_families =
      traits_.transfer_family != UINT32_MAX && traits_.transfer_family != traits_.queue_family;
  vk::DeviceQueueCreateInfo queues[2];
  for (int i = 0; i < 2; ++i) {
    queues[i] = vk::DeviceQueueCreateInfo{
        .queueFamilyIndex = i == 0 ? traits_.queue_family : traits_.transfer_family,
        .queueCount = 1,
        .pQueuePriorities = &priority};
  }
  const bool matrices = traits_.matrix.m != 0;
  vk::StructureChain<vk::DeviceCreateInfo, vk::PhysicalDeviceFeatures2,
                     vk::PhysicalDeviceVulkan11Features, vk::PhysicalDeviceVulkan12Features,
                     vk::PhysicalDeviceSubgroupSizeControlFeatures,
                     vk::PhysicalDeviceShaderIntegerDotProductFeatures>
      chain;
  chain.get<vk::PhysicalDeviceVulkan11Features>().storageBuffer16BitAccess = traits_.small_storage;
  auto& features12 = chain.get<vk::PhysicalDeviceVulkan12Features>();
  features12.timelineSemaphore = true;
  features12.storageBuffer8BitAccess = traits_.small_storage;
  features12.bufferDeviceAddress = traits_.device_address;
  features12.shaderFloat16 = matrices || traits_.half_products;
  // With the memory model on, atomics of all shaders need the scope.
  features12.vulkanMemoryModel = features12.vulkanMemoryModelDeviceScope = matrices;
  auto& subgroup_size = chain.get<vk::PhysicalDeviceSubgroupSizeControlFeatures>();
  subgroup_size.subgroupSizeControl = subgroup_size.computeFullSubgroups = true;
  if (traits_.subgroup_size == 0) {
    chain.unlink<vk::PhysicalDeviceSubgroupSizeControlFeatures>();
  }
  auto& integer_dot = chain.get<vk::PhysicalDeviceShaderIntegerDotProductFeatures>();
  integer_dot.shaderIntegerDotProduct = true;
  if (!traits_.integer_dot) chain.unlink<vk::PhysicalDeviceShaderIntegerDotProductFeatures>();
  auto& info = chain.get<vk::DeviceCreateInfo>();
  VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrix{
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR};
  matrix.cooperativeMatrix = VK_TRUE;
  if (matrices) matrix.pNext = const_cast<void*>(std::exchange(info.pNext, &matrix));
  info.queueCreateInfoCount = two_families ? 2 : 1;
  info.pQueueCreateInfos = queues;
  info.enabledExtensionCount = static_cast<uint32_t>(traits_.extensions.size());
  info.ppEnabledExtensionNames = traits_.extensions.data();
  vk_ = instance_.vk();
  BANTAM_RETURN_IF_ERROR(Take(physical_.createDeviceUnique(info, nullptr, vk_), device_,
                              absl::StrCat("opening ", traits_.name)));
  vk_.init(*device_);
  BANTAM_RETURN_IF_ERROR(Make(main_, traits_.queue_family));
  BANTAM_RETURN_IF_ERROR(Make(copier_, main_, traits_.queue_family));
  if (traits_.transfer_family != UINT32_MAX) {
    BANTAM_RETURN_IF_ERROR(Make(transfers_, traits_.transfer_family));
    BANTAM_RETURN_IF_ERROR(Make(uploader_, transfers_, traits_.transfer_family));
  }
  pipelines_ = std::make_unique<Pipelines>(
      vk_, *device_, absl::StrCat(traits_.name, "; ", traits_.driver), traits_.small_storage);
  return absl::OkStatus();
}

absl::Status Gpu::Make(Timeline& timeline, uint32_t family) {
  timeline.queue = device_->getQueue(family, 0, vk_);
  const vk::SemaphoreTypeCreateInfo type{.semaphoreType = vk::SemaphoreType::eTimeline};
  return Take(device_->createSemaphoreUnique({.pNext = &type}, nullptr, vk_), timeline.semaphore,
              "creating a semaphore");
}

absl::Status Gpu::Make(Copier& copier, Timeline& timeline, uint32_t family) {
  copier.timeline = &timeline;
  const vk::CommandPoolCreateInfo pool{.flags = vk::CommandPoolCreateFlagBits::eResetCommandBuffer,
                                       .queueFamilyIndex = family};
  BANTAM_RETURN_IF_ERROR(Take(device_->createCommandPoolUnique(pool, nullptr, vk_), copier.pool,
                              "creating a command pool"));
  const vk::CommandBufferAllocateInfo two{.commandPool = *copier.pool, .commandBufferCount = 2};
  return Take(device_->allocateCommandBuffers(two, vk_), copier.commands,
              "allocating command buffers");
}

absl::Status Gpu::Note(vk::Result result, absl::string_view what) {
  if (result == vk::Result::eErrorDeviceLost) lost_ = true;
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
  const uint32_t families[] = {traits_.queue_family, traits_.transfer_family};
  vk::BufferCreateInfo info{.size = bytes,
                            .usage = vk::BufferUsageFlagBits::eStorageBuffer |
                                     vk::BufferUsageFlagBits::eTransferSrc |
                                     vk::BufferUsageFlagBits::eTransferDst};
  const bool addressed = traits_.device_address && where != Where::kStaging;
  if (addressed) info.usage |= vk::BufferUsageFlagBits::eShaderDeviceAddress;
  if (traits_.transfer_family != UINT32_MAX && families[0] != families[1]) {
    info.sharingMode = vk::SharingMode::eConcurrent;
    info.queueFamilyIndexCount = 2;
    info.pQueueFamilyIndices = families;
  }
  Memory memory;
  BANTAM_RETURN_IF_ERROR(
      Take(device_->createBufferUnique(info, nullptr, vk_), memory.buffer, "creating a buffer"));
  const vk::MemoryRequirements needs = device_->getBufferMemoryRequirements(*memory.buffer, vk_);
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
        absl::StrCat(traits_.name, ": a storage buffer cannot live in memory of type ", type));
  }
  const vk::MemoryAllocateFlagsInfo flags{.flags = vk::MemoryAllocateFlagBits::eDeviceAddress};
  const auto allocate = [&] {
    const vk::MemoryAllocateInfo of_type{.pNext = addressed ? &flags : nullptr,
                                         .allocationSize = needs.size,
                                         .memoryTypeIndex = type};
    return device_->allocateMemoryUnique(of_type, nullptr, vk_);
  };
  auto allocated = allocate();
  if (allocated.result == vk::Result::eErrorOutOfDeviceMemory && type == traits_.mapped_memory &&
      type != traits_.device_memory) {
    // The window through which the host sees the GPU's memory may be small.
    type = traits_.device_memory;
    static_cast<void>(allocated.value.release());
    allocated = allocate();
  }
  const absl::Status made = Take(std::move(allocated), memory.memory, "allocating it");
  if (absl::IsResourceExhausted(made)) {
    return exhausted(absl::StrCat("cannot be had; ", made.message()));
  }
  BANTAM_RETURN_IF_ERROR(made);
  BANTAM_RETURN_IF_ERROR(
      Note(device_->bindBufferMemory(*memory.buffer, *memory.memory, 0, vk_), "binding memory"));
  if (addressed) memory.address = device_->getBufferAddress({.buffer = *memory.buffer}, vk_);
  const bool map = where == Where::kStaging ||
                   (type == traits_.mapped_memory && where == Where::kDeviceWritten) ||
                   (type == traits_.device_memory && traits_.host_writes);
  if (map) {
    void* mapped = nullptr;
    BANTAM_RETURN_IF_ERROR(Take(device_->mapMemory(*memory.memory, 0, VK_WHOLE_SIZE, {}, vk_),
                                mapped, "mapping memory"));
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

absl::StatusOr<uint64_t> Gpu::Submit(vk::CommandBuffer commands) { return Submit(main_, commands); }

absl::StatusOr<uint64_t> Gpu::Submit(Timeline& timeline, vk::CommandBuffer commands) {
  std::lock_guard lock(queue_mutex_);
  if (Strikes(TheFaults().submit_in)) {
    return Note(vk::Result::eErrorDeviceLost, "submitting (injected)");
  }
  if (lost_) return ToStatus(vk::Result::eErrorDeviceLost, "submitting");
  const uint64_t value = timeline.submitted + 1;
  const Timeline& other = &timeline == &main_ ? transfers_ : main_;
  const uint64_t seen = other.seen;
  const uint32_t waits = seen > 0 ? 1 : 0;
  const vk::TimelineSemaphoreSubmitInfo values{.waitSemaphoreValueCount = waits,
                                               .pWaitSemaphoreValues = &seen,
                                               .signalSemaphoreValueCount = 1,
                                               .pSignalSemaphoreValues = &value};
  const vk::PipelineStageFlags stages = vk::PipelineStageFlagBits::eAllCommands;
  const vk::SubmitInfo info{.pNext = &values,
                            .waitSemaphoreCount = waits,
                            .pWaitSemaphores = &*other.semaphore,
                            .pWaitDstStageMask = &stages,
                            .commandBufferCount = 1,
                            .pCommandBuffers = &commands,
                            .signalSemaphoreCount = 1,
                            .pSignalSemaphores = &*timeline.semaphore};
  BANTAM_RETURN_IF_ERROR(Note(timeline.queue.submit(info, {}, vk_), "submitting"));
  return timeline.submitted = value;
}

uint64_t Gpu::last_submitted() const {
  std::lock_guard lock(queue_mutex_);
  return main_.submitted;
}

absl::Status Gpu::Wait(uint64_t submitted) { return Wait(main_, submitted); }

absl::Status Gpu::Wait(Timeline& timeline, uint64_t submitted) {
  if (lost_) return ToStatus(vk::Result::eErrorDeviceLost, "waiting for the GPU");
  if (submitted == 0) return absl::OkStatus();
  const vk::SemaphoreWaitInfo wait{
      .semaphoreCount = 1, .pSemaphores = &*timeline.semaphore, .pValues = &submitted};
  BANTAM_RETURN_IF_ERROR(
      Note(device_->waitSemaphores(wait, UINT64_MAX, vk_), "waiting for the GPU"));
  uint64_t before = timeline.seen;
  while (before < submitted && !timeline.seen.compare_exchange_weak(before, submitted)) {
  }
  return absl::OkStatus();
}

absl::Status Gpu::RunNow(const std::function<void(vk::CommandBuffer)>& record) {
  std::lock_guard lock(copier_.mutex);
  const vk::CommandBuffer commands = copier_.commands[0];
  BANTAM_RETURN_IF_ERROR(Note(commands.begin(kOnce, vk_), "recording"));
  BarrierAll(vk_, commands);
  record(commands);
  BarrierAll(vk_, commands);
  BANTAM_RETURN_IF_ERROR(Note(commands.end(vk_), "recording"));
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

absl::Status Gpu::CopyIn(vk::Buffer buffer, uint64_t offset, std::span<const std::byte> data) {
  Copier& copier = traits_.transfer_family != UINT32_MAX ? uploader_ : copier_;
  Timeline& timeline = *copier.timeline;
  std::lock_guard lock(copier.mutex);
  BANTAM_RETURN_IF_ERROR(Staging(copier));
  uint64_t pending[2] = {0, 0}, last = 0;
  for (int half = 0; !data.empty(); half ^= 1) {
    BANTAM_RETURN_IF_ERROR(Wait(timeline, pending[half]));
    const uint64_t count = std::min<uint64_t>(data.size(), copier.staging[half].bytes);
    std::memcpy(copier.staging[half].mapped, data.data(), count);
    const vk::CommandBuffer commands = copier.commands[half];
    BANTAM_RETURN_IF_ERROR(Note(commands.begin(kOnce, vk_), "recording"));
    BarrierAll(vk_, commands);
    commands.copyBuffer(*copier.staging[half].buffer, buffer, vk::BufferCopy{0, offset, count},
                        vk_);
    BANTAM_RETURN_IF_ERROR(Note(commands.end(vk_), "recording"));
    BANTAM_ASSIGN_OR_RETURN(pending[half], Submit(timeline, commands));
    last = pending[half];
    data = data.subspan(count);
    offset += count;
  }
  return Wait(timeline, last);
}

absl::Status Gpu::CopyOut(vk::Buffer buffer, uint64_t offset, std::span<std::byte> data) {
  std::lock_guard lock(copier_.mutex);
  BANTAM_RETURN_IF_ERROR(Staging(copier_));
  while (!data.empty()) {
    const uint64_t count = std::min<uint64_t>(data.size(), copier_.staging[0].bytes);
    const vk::CommandBuffer commands = copier_.commands[0];
    BANTAM_RETURN_IF_ERROR(Note(commands.begin(kOnce, vk_), "recording"));
    BarrierAll(vk_, commands);
    commands.copyBuffer(buffer, *copier_.staging[0].buffer, vk::BufferCopy{offset, 0, count}, vk_);
    BarrierAll(vk_, commands);
    BANTAM_RETURN_IF_ERROR(Note(commands.end(vk_), "recording"));
    BANTAM_ASSIGN_OR_RETURN(const uint64_t submitted, Submit(commands));
    BANTAM_RETURN_IF_ERROR(Wait(submitted));
    std::memcpy(data.data(), copier_.staging[0].mapped, count);
    data = data.subspan(count);
    offset += count;
  }
  return absl::OkStatus();
}

absl::StatusOr<vk::Buffer> Gpu::Codebooks() {
  std::lock_guard lock(codebooks_mutex_);
  if (codebooks_.bytes != 0) return *codebooks_.buffer;
  const std::vector<uint32_t> words = CodebookWords();
  const auto bytes = std::as_bytes(std::span(words));
  BANTAM_ASSIGN_OR_RETURN(Memory memory, Allocate(bytes.size(), Where::kDevice));
  BANTAM_RETURN_IF_ERROR(CopyIn(*memory.buffer, 0, bytes));
  codebooks_ = std::move(memory);
  return *codebooks_.buffer;
}

}  // namespace bantam::vulkan
