// One GPU opened: its queue, its memory, its pipelines. Shared by everything made from it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backends/vulkan/api.h"
#include "backends/vulkan/instance.h"
#include "backends/vulkan/pipelines.h"
#include "backends/vulkan/settings.h"
#include "runtime/device/device.h"

namespace bantam::vulkan {

// What a GPU has, and what of it is used.
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
  bool small_storage = false;             // 8-bit and 16-bit storage
  bool memory_budget = false;
  std::vector<std::string> unused;  // lines about what no shader has a use for
  uint64_t binding_limit = 0;       // bytes
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
};
absl::StatusOr<Traits> QueryTraits(const Instance& instance, VkPhysicalDevice gpu,
                                   const Settings& settings);
// A line for each optional ability and whether it is used.
std::vector<std::string> Features(const Traits& traits);
// Bytes not in use by anyone, as the driver says; without that, `allocated` are ours.
uint64_t FreeBytes(const Instance& instance, VkPhysicalDevice gpu, const Traits& traits,
                   uint64_t allocated);

// Memory with one VkBuffer over all of it.
struct Memory {
  Handle<VkBuffer> buffer;
  Handle<VkDeviceMemory> memory;
  std::byte* mapped = nullptr;
  uint64_t bytes = 0;
};

class Gpu : public std::enable_shared_from_this<Gpu> {
 public:
  // The GPU, opened once for the process; again after it was lost, or with other settings.
  static absl::StatusOr<std::shared_ptr<Gpu>> Open(Instance& instance, VkPhysicalDevice physical,
                                                   const Settings& settings);
  // Bytes allocated by us on `physical`.
  static uint64_t AllocatedBytes(VkPhysicalDevice physical);
  ~Gpu();

  const Traits& traits() const { return traits_; }
  const Settings& settings() const { return settings_; }
  const DeviceFunctions& vk() const { return vk_; }
  VkDevice device() const { return device_; }
  Pipelines& pipelines() { return *pipelines_; }
  bool lost() const { return lost_; }

  enum class Where { kDevice, kDeviceWritten, kStaging };
  absl::StatusOr<Memory> Allocate(uint64_t bytes, Where where);
  void Free(Memory& memory);  // before its destruction, to count it

  // Submits and returns the number Wait takes. Work is done in order of submission, provided it
  // begins with a barrier against everything before.
  absl::StatusOr<uint64_t> Submit(VkCommandBuffer commands);
  absl::Status Wait(uint64_t submitted);
  uint64_t last_submitted() const;
  // Records commands, runs them and waits.
  absl::Status RunNow(const std::function<void(VkCommandBuffer)>& record);

  // Copies through staging memory, two halves in turn. CopyIn, where there is a queue for it,
  // beside what is computed; nothing that was submitted before may use the range it writes.
  absl::Status CopyIn(VkBuffer buffer, uint64_t offset, std::span<const std::byte> data);
  absl::Status CopyOut(VkBuffer buffer, uint64_t offset, std::span<std::byte> data);

  // The codebooks of the IQ types, as shaders/quant/iq.glsl reads them.
  absl::StatusOr<VkBuffer> Codebooks();

 private:
  Gpu(Instance& instance, VkPhysicalDevice physical, const Settings& settings)
      : instance_(instance), physical_(physical), settings_(settings) {}
  absl::Status Create();
  absl::Status Note(VkResult result, absl::string_view what);

  // A queue's progress: a counter that the GPU raises with each submission.
  struct Timeline {
    VkQueue queue = VK_NULL_HANDLE;
    Handle<VkSemaphore> semaphore;
    uint64_t submitted = 0;  // guarded by queue_mutex_
    // The largest that the host has waited for. Another queue's next submission waits for it too,
    // which costs nothing and makes what was written visible there.
    std::atomic<uint64_t> seen{0};
  };
  // What copies need; one at a time.
  struct Copier {
    std::mutex mutex;
    Timeline* timeline = nullptr;
    Handle<VkCommandPool> pool;
    VkCommandBuffer commands[2] = {};
    Memory staging[2];
  };
  absl::Status Make(Timeline& timeline, uint32_t family);
  absl::Status Make(Copier& copier, Timeline& timeline, uint32_t family);
  absl::Status Staging(Copier& copier);
  absl::StatusOr<uint64_t> Submit(Timeline& timeline, VkCommandBuffer commands);
  absl::Status Wait(Timeline& timeline, uint64_t submitted);

  Instance& instance_;
  const VkPhysicalDevice physical_;
  const Settings settings_;
  Traits traits_;
  DeviceFunctions vk_;
  VkDevice device_ = VK_NULL_HANDLE;
  Timeline main_, transfers_;
  std::unique_ptr<Pipelines> pipelines_;
  std::atomic<bool> lost_{false};
  mutable std::mutex queue_mutex_;
  Copier copier_, uploader_;  // uploader_ only with a transfer queue
  std::mutex codebooks_mutex_;
  Memory codebooks_;
};

}  // namespace bantam::vulkan
